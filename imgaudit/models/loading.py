"""From a name on the command line to a Denoiser: folder, bundled lab, or hub id; safetensors only."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from imgaudit.denoiser import Denoiser
from imgaudit.exceptions import ModelRefusedError

BUNDLED = ("demo",)
"""Names of lab models that come with the package."""

PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be audited, and what identifies it."""

    denoiser: Denoiser
    """The adapter."""
    name: str
    """What the user called it."""
    pipeline_class: str
    """diffusers class name."""
    files: Mapping[str, str]
    """Relative path of every weight and configuration file to its SHA-256."""


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
    if path.is_dir():
        return path
    if path.is_file():
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


def read_model_index(folder: Path) -> dict[str, Any]:
    """model_index.json of a diffusers folder. Raises ModelRefusedError when it is missing or broken."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise ModelRefusedError(f"{str(folder)!r} has no model_index.json: expected a diffusers pipeline folder")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRefusedError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ModelRefusedError(f"{str(path)!r} names no pipeline class")
    return index


def hash_model_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every weight, configuration and tokenizer file of a diffusers folder, by relative path."""
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".safetensors", ".json", ".txt", ".model"}:
            with path.open("rb") as file:
                digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def model_fingerprint(files: Mapping[str, str]) -> str:
    """One SHA-256 over all file digests: changes when any weight or configuration file does."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def _refuse_unsafe(folder: Path, index: Mapping[str, Any]) -> None:
    for component, entry in index.items():
        if component.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or entry[0] is None:
            continue
        if entry[0] not in ("diffusers", "transformers", "stable_diffusion"):
            raise ModelRefusedError(
                f"component {component!r} comes from {entry[0]!r}: a model that brings its own code is not loaded"
            )
        weights = [path for path in (folder / component).glob("*") if path.is_file()]
        pickled = [path.name for path in weights if path.suffix in PICKLED_SUFFIXES]
        if pickled and not any(path.suffix == ".safetensors" for path in weights):
            raise ModelRefusedError(
                f"component {component!r} has only pickled weights ({pickled[0]}), which can run code when opened; "
                "convert them to safetensors first"
            )


def choose_device(device: str) -> torch.device:
    """auto is CUDA when there is one, else MPS, else the CPU. Raises ModelRefusedError for one that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelRefusedError(f"device {device!r} was asked for, but torch sees no CUDA device; use --device cpu")
    return torch.device(device)


def load_model(model: str, device: str = "auto") -> LoadedModel:
    """Load a model for auditing, from safetensors only and without running any code it brings.

    Raises ModelRefusedError with the reason and what to do: not found, unsupported class, pickled or damaged weights.
    """
    folder = resolve_model(model)
    index = read_model_index(folder)
    class_name = index["_class_name"]
    if class_name != "StableDiffusionPipeline":
        raise ModelRefusedError(
            f"{class_name} is not supported; this version audits StableDiffusionPipeline (Stable Diffusion 1.x and 2.x)"
        )
    _refuse_unsafe(folder, index)
    files = hash_model_files(folder)
    os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")
    chosen = choose_device(device)

    import diffusers
    import transformers
    from diffusers import StableDiffusionPipeline

    from imgaudit.models.unet import UNetDenoiser

    # Their bars would draw over the command line's own, and cut captions are counted and reported by us.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            dtype=torch.float32 if chosen.type == "cpu" else torch.float16,
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    except Exception as error:  # diffusers, safetensors and json raise unrelated types for damaged files
        raise ModelRefusedError(f"{model!r} cannot be loaded: {type(error).__name__}: {error}") from error
    denoiser = UNetDenoiser(pipeline, model_fingerprint(files), chosen)
    return LoadedModel(denoiser, model, class_name, files)
