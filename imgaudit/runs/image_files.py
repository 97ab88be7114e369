"""The files of a measured image: encoded where it was measured, written where the run is held."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import save

from imgaudit.diffusion.measurement import MeasuredImage
from imgaudit.io.framing import copy_original, to_image
from imgaudit.io.thumbnails import write_thumbnail
from imgaudit.io.writing import encode_png, format_json, write_atomically
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.records import Measurement, Skipped


@dataclass(frozen=True)
class EncodedImage:
    """What was measured of one image, as it goes into the run: small, so that it can be sent between processes."""

    measurement: Measurement
    """The record."""
    files: Mapping[str, bytes]
    """Content of every file by its path in the run; none where pictures are not kept."""


def encode_image(image: MeasuredImage, *, keep_files: bool = True) -> EncodedImage:
    """Encode the pictures, the embedding, learned noise and curves of an image; its record alone without `keep_files`.

    Pixels that are not finite become black; an image whose record is not finite has no files, as it will be skipped.
    """
    if not keep_files or not image.measurement.is_finite:
        return EncodedImage(image.measurement, {})
    folder = f"images/{image.measurement.id}"
    pictures = {
        f"{folder}/original.png": copy_original(image.original),
        f"{folder}/target.png": to_image(image.framed),
        f"{folder}/rendered.png": to_image(image.rendered),
    }
    pictures |= {path: to_image(torch.nan_to_num(frame, nan=-1.0)) for path, frame in image.images.items()}
    # Compressing dozens of large pictures one after the other would keep a GPU waiting.
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        files = dict(zip(pictures, pool.map(encode_png, pictures.values()), strict=True))
    files[f"{folder}/embeds.safetensors"] = save({name: one.contiguous() for name, one in image.prompt_embeds.items()})
    if image.learned_noise:
        tensors = {name: one.contiguous() for name, one in image.learned_noise.items()}
        files[f"{folder}/noise.safetensors"] = save(tensors)
    error = image.measurement.error
    curves = {
        "loss": image.measurement.loss_curve,
        "by_timestep": [] if isinstance(error, Skipped) else [asdict(point) for point in error.by_timestep],
    }
    files[f"{folder}/curves.json"] = format_json(curves).encode("utf-8")
    return EncodedImage(image.measurement, files)


def write_image(run: RunFolder, image: EncodedImage) -> None:
    """Write the files of an image into the run that this process holds, before its record is written."""
    for path, content in image.files.items():
        write_atomically(run.path / path, content)
    if image.files:
        _save_thumbnails(run, image.measurement)


def _save_thumbnails(run: RunFolder, measurement: Measurement) -> None:
    """Save what the report's index shows of an image, so that a report need not decode thousands of them."""
    folder = run.path / "report" / "thumbs"
    write_thumbnail(run.image_folder(measurement.id) / "target.png", folder / f"{measurement.id}-target.jpg")
    if closest := measurement.closest(DECIDING_DESCRIPTOR):
        write_thumbnail(run.path / closest[1].path, folder / f"{measurement.id}-best.jpg")
