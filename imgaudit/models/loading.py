"""From a name on the command line to a Denoiser: folder, bundled lab, or hub id; safetensors only."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch

from imgaudit.denoiser import Denoiser
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families import find_family
from imgaudit.models.inspection import hash_model_files, model_fingerprint, read_model_index, refuse_unsafe
from imgaudit.models.lora import Lora, fuse_lora, lora_fingerprint, read_lora
from imgaudit.models.vocabularies import refuse_tokenizers
from imgaudit.models.weights import network_shapes, refuse_unmerged_weights
from imgaudit.offline import is_offline

__all__ = [
    "BUNDLED", "LoadedModel", "bundled_lab", "choose_device", "hash_model_files", "load_model", "model_fingerprint",
    "read_model_index", "resolve_model",
]  # fmt: skip

# The libraries read these when they are imported, which they first are in the functions below.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")

BUNDLED = ("demo",)
"""Names of lab models that come with the package."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be audited, and what identifies it."""

    denoiser: Denoiser
    """The adapter."""
    name: str
    """What the user called it, and the LoRAs in it."""
    pipeline_class: str
    """diffusers class name."""
    files: Mapping[str, str]
    """Relative path of every weight and configuration file to its SHA-256."""
    revision: str = ""
    """The commit of a model from the hub, whatever branch was asked for."""
    loras: Sequence[Lora] = ()
    """What was fused into the weights, in this order."""


def bundled_lab(name: str = "demo") -> Path:
    """The folder of a bundled lab: model/, portfolio/, controls, lab.json."""
    return Path(str(resources.files("imgaudit"))) / "lab" / "bundled" / name


def resolve_model(model: str) -> Path:
    """The local folder of a model.

    A bundled lab's name is that lab (a folder of that name is ./name), an existing folder is itself, and anything
    shaped like `owner/name[@revision]` is fetched from the hub (safetensors and configuration only), unless
    HF_HUB_OFFLINE is set and it is not cached.
    Raises ModelRefusedError with what to do.
    """
    if model in BUNDLED:
        return bundled_lab(model) / "model"
    path = Path(model)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise ModelRefusedError(f"model {model!r:.200} cannot be opened: {error.strerror}") from error
    if is_folder:
        return path
    if is_file:
        raise ModelRefusedError(
            f"{model!r} is a single file; this version audits diffusers folders: convert it with diffusers' "
            "from_single_file and save_pretrained(safe_serialization=True)"
        )
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return _from_hub(model)
    raise ModelRefusedError(
        f"model {model!r} was not found: expected a diffusers folder, a bundled lab ({', '.join(BUNDLED)}) or a hub id"
    )


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = model.partition("@")
    try:
        folder = snapshot_download(
            name,
            revision=revision or None,
            # The libraries' own switch is read when they are imported, which may have been before.
            local_files_only=is_offline() or bool(os.environ.get("HF_HUB_OFFLINE")),
            allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"],
            ignore_patterns=["*.fp16.safetensors", "*.non_ema.safetensors"],
        )
    except GatedRepoError as error:
        raise ModelRefusedError(
            f"{name!r} is gated: accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelRefusedError(f"{name!r} is not cached and cannot be fetched: {error}") from error
    return Path(folder)


def choose_device(device: str) -> torch.device:
    """auto is CUDA when there is one, else MPS, else the CPU. Raises ModelRefusedError for one that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, number = device.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(kind, 0)
    if not there:
        raise ModelRefusedError(
            f"device {device!r} was asked for, but torch sees no {kind.upper()} device; use --device cpu"
        )
    if colon and not (number.isdecimal() and int(number) < there):
        raise ModelRefusedError(f"device {device!r} was asked for, but torch sees {there} of this kind, counted from 0")
    return torch.device(device)


def load_model(model: str, device: str = "auto", loras: Sequence[str] = ()) -> LoadedModel:
    """Load a model for auditing, from safetensors only and without running any code it brings.

    loras:  FILE_OR_FOLDER[:WEIGHT] of what is fused into its weights; its fingerprint is another one then
    Raises ModelRefusedError with the reason and what to do: not found, unsupported class, pickled, damaged or missing
    weights, paths that leave the folder, parts that do not fit together, a LoRA of another model.
    """
    folder = resolve_model(model)
    index = read_model_index(folder)
    chosen = choose_device(device)
    family = find_family(index["_class_name"])
    refuse_unsafe(folder, index, family)
    refuse_tokenizers(folder, index, family)
    refuse_unmerged_weights(folder)
    shapes = {
        name: network_shapes(folder / name, component.stem)
        for name, component in family.present(index, "network").items()
    }
    added = [read_lora(text) for text in loras]
    files = hash_model_files(folder)

    from imgaudit.models.pipeline import load_pipeline, refusing, try_out

    adapter = family.load_adapter()
    with refusing(f"{model!r} cannot be loaded"):
        dtype = torch.float32 if chosen.type == "cpu" else getattr(torch, family.half)
        pipeline = load_pipeline(folder, index, family, shapes, dtype)
    for lora in added:
        with refusing(f"LoRA {str(lora.path)!r} cannot be applied"):
            fuse_lora(pipeline, lora)
    with refusing(f"{model!r} cannot be loaded"):
        denoiser = adapter(pipeline, lora_fingerprint(model_fingerprint(files), added), chosen)
    with refusing(f"{model!r} cannot be used, its parts do not fit together"):
        try_out(denoiser, family)
    name = " + ".join([model, *(f"{lora.path.name} x {lora.weight:g}" for lora in added)])
    return LoadedModel(denoiser, name, index["_class_name"], files, _commit(folder), tuple(added))


def _commit(folder: Path) -> str:
    """The hub's cache keeps a model under the full hash of its commit."""
    named = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if named else ""
