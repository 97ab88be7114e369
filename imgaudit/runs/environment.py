"""What this machine can run, and what would be skipped and why."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import features

from imgaudit.exceptions import ModelRefusedError
from imgaudit.index import FlatIndex, count_gpus
from imgaudit.models.loading import BUNDLED, bundled_lab
from imgaudit.runs.manifest import package_versions
from imgaudit.schema.records import Record, Skipped
from imgaudit.similarity.descriptors import DEFAULT_DESCRIPTORS, load_descriptor
from imgaudit.similarity.lpips import load_lpips


class Check(Record):
    """One line of `imgaudit doctor`."""

    name: str
    """Subject of the check."""
    state: str
    """ok, skipped or failed."""
    detail: str
    """Result in words, and what to do when something is missing."""


def _torch() -> Check:
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    where = ", ".join(devices) if devices else f"CPU only, {torch.get_num_threads()} threads"
    return Check(name="torch", state="ok", detail=f"{torch.__version__}; {where}")


def _index() -> Check:
    """Known answer: a vector's nearest neighbour among others is itself."""
    descriptor = DEFAULT_DESCRIPTORS[0]
    generator = torch.Generator().manual_seed(0)
    vectors = descriptor.describe(torch.randn(16, 3, 32, 32, generator=generator))
    index = FlatIndex(descriptor)
    index.add([str(number) for number in range(16)], vectors)
    right = all(found[0].id == str(row) for row, found in enumerate(index.search(vectors, 1)))
    detail = (
        f"{count_gpus()} GPUs visible to it" if right else "a vector is not its own nearest neighbour: reinstall faiss"
    )
    return Check(name="faiss", state="ok" if right else "failed", detail=detail)


def _faiss_once() -> Check:
    both = [name for name in ("faiss-cpu", "faiss-gpu") if name in package_versions()]
    if len(both) > 1:
        return Check(
            name="faiss packages", state="failed", detail="faiss-cpu and faiss-gpu overwrite each other: uninstall one"
        )
    return Check(name="faiss packages", state="ok", detail=both[0] if both else "not installed as a package")


def _descriptors() -> Check:
    """Known answer: an image is more similar to its noisy copy than to an unrelated one."""
    generator = torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    noisy = (image + 0.02 * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
    vectors = DEFAULT_DESCRIPTORS[0].describe(torch.stack([image, noisy, other])).astype(np.float64)
    right = vectors[0] @ vectors[1] > 0.9 > vectors[0] @ vectors[2]
    return Check(
        name="descriptors",
        state="ok" if right else "failed",
        detail="pixel and pdq give known answers" if right else "the pixel descriptor does not recognise a copy",
    )


def _trained(name: str) -> Check:
    """A descriptor with weights, asked for its known answers."""
    try:
        loaded = load_descriptor(name)
    except ModelRefusedError as error:
        return Check(name=name, state="failed", detail=str(error))
    if isinstance(loaded, Skipped):
        return Check(name=name, state="skipped", detail=loaded.skipped)
    return Check(name=name, state="ok", detail=f"gives known answers; {loaded.source}")


def _sscd() -> Check:
    return _trained("sscd")


def _sscd_int8() -> Check:
    return _trained("sscd-int8")


def _dinov2() -> Check:
    return _trained("dinov2")


def _lpips() -> Check:
    """Known answers, exact and by order: see :func:`imgaudit.similarity.lpips.load_lpips`."""
    try:
        loaded = load_lpips()
    except ModelRefusedError as error:
        return Check(name="lpips", state="failed", detail=str(error))
    if isinstance(loaded, Skipped):
        # Reports carry the reason without it: the auditor's folders are nobody's business.
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        return Check(name="lpips", state="skipped", detail=f"{loaded.skipped}: {folder}")
    return Check(name="lpips", state="ok", detail=f"gives known answers; {loaded.source}")


def _images() -> Check:
    """Check which formats can be decoded, apart from those that every build of Pillow can."""
    decoders = {"WebP": features.check("webp"), "AVIF": features.check("avif"), "JPEG 2000": features.check("jpg_2000")}
    if importlib.util.find_spec("pillow_heif") is not None:
        decoders["HEIC"] = True
    there = ", ".join(["PNG", "JPEG", "TIFF", "GIF", "BMP", *(name for name, found in decoders.items() if found)])
    # A Pillow built without a codec is repaired by the wheel, which has all of them.
    todo = [f"{name} is skipped: pip install --force-reinstall pillow" for name, found in decoders.items() if not found]
    if "HEIC" not in decoders:
        todo.append("HEIC is skipped: pip install imgaudit[heif]")
    return Check(name="images", state="skipped" if todo else "ok", detail="; ".join([there, *todo]))


def _bundled() -> Check:
    missing = [name for name in BUNDLED if not (bundled_lab(name) / "model" / "model_index.json").is_file()]
    if missing:
        return Check(name="bundled labs", state="failed", detail=f"{', '.join(missing)} missing from the installation")
    return Check(name="bundled labs", state="ok", detail=", ".join(BUNDLED))


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    writable = os.access(Path.cwd(), os.W_OK)
    state = "ok" if writable and free > 2**30 else "failed"
    return Check(
        name="disk",
        state=state,
        detail=f"{free / 2**30:.1f} GiB free here, {'writable' if writable else 'not writable'}",
    )


def _offline() -> Check:
    on = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    return Check(
        name="network", state="ok", detail=f"offline by {', '.join(on)}" if on else "used only for --model OWNER/NAME"
    )


CHECKS: tuple[Callable[[], Check], ...] = (
    _torch, _faiss_once, _index, _descriptors, _sscd, _sscd_int8, _dinov2, _lpips, _images, _bundled, _disk, _offline,
)  # fmt: skip


def examine() -> list[Check]:
    """Run every check; one that raises is itself a failed check."""
    checks = [Check(name="versions", state="ok", detail=", ".join(f"{n} {v}" for n, v in package_versions().items()))]
    for check in CHECKS:
        try:
            checks.append(check())
        except Exception as error:  # a doctor that dies of the disease is of no use
            checks.append(
                Check(name=check.__name__.strip("_"), state="failed", detail=f"{type(error).__name__}: {error}")
            )
    return checks
