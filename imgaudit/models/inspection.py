"""What a stranger's diffusers folder is, found out before anything of it is loaded: its index, hashes, and refusals."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.files import read_bounded

COMPONENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "scheduler": ("diffusers", ()),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
}
"""What is loaded: the library of each component and the classes it may have; a scheduler may have any that fits."""

NEVER_LOADED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that an audit does without. Whatever their folders hold is not opened."""

LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""Where a component's class may come from; every other name in model_index.json stands for code in the folder."""

HASHED_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model"})
"""Files that can change what a model does, as far as they are ever opened."""

MAX_CONFIG_BYTES = 4 * 2**20
"""Configuration files and indexes of shards that are larger are refused unread."""

MAX_VOCABULARY_BYTES = 64 * 2**20
"""The same for the files of a tokenizer."""

MAX_FILES = 20_000
"""Folders with more files are no model."""

MAX_SIZE = 1_000_000
"""Whole numbers in a network's configuration that are larger would fill the memory: they stand for sizes and counts."""

MAX_TIMESTEPS = 100_000
"""Schedules that are longer would fill the memory; Stable Diffusion's has 1,000 steps."""

ADAPTERS = ("pytorch_lora_weights", "learned_embeds", "adapter_model", "adapter_config")
"""How the names of LoRA, textual inversion and PEFT files begin."""

# What messages end with: why, and what to do.
NO_CODE = "code that a model brings is never run; ask for the model in the classes of diffusers and transformers"
NO_LORA = (
    "this version does not apply LoRA: the base model alone would be audited; merge it first, or move it away to audit "
    "the base model"
)
AGAIN = "download or export the model again"

FORBIDDEN_KEYS: Mapping[str, str] = {
    "auto_map": NO_CODE,
    "custom_pipelines": NO_CODE,
    "trust_remote_code": NO_CODE,
    "quantization_config": "quantised weights are another model; audit the model that they were made from",
    "transformers_weights": "weights are read under their usual name only; rename the file and delete the key",
    **dict.fromkeys(
        ("gguf_file", "vocab", "merges", "init_inputs", "tokenizer_object"),
        "vocabularies are read from their usual files only; delete the key",
    ),
}
"""Keys of configuration files that the libraries would obey, and why a model that sets them is refused."""


def shown(path: Path) -> str:
    """A file of a model as messages name it: its folder and name, with everything unprintable escaped."""
    return repr("/".join(path.parts[-2:]))


def read_json(path: Path, limit: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A stranger's JSON object. Raises ModelRefusedError for a file that cannot be read, is too large or holds none."""
    name = shown(path)
    try:
        value = json.loads(read_bounded(path, limit).decode("utf-8"))
    except InputError as error:
        raise ModelRefusedError(f"{name}, which the model needs, {error}; {AGAIN}") from error
    except RecursionError as error:
        raise ModelRefusedError(f"{name} is nested too deeply to be a configuration; {AGAIN}") from error
    except ValueError as error:
        raise ModelRefusedError(f"{name} is not JSON that can be parsed: {error}; {AGAIN}") from error
    if not isinstance(value, dict):
        raise ModelRefusedError(f"{name} holds a {type(value).__name__}, but a JSON object is expected; {AGAIN}")
    return value


def read_model_index(folder: Path) -> dict[str, Any]:
    """model_index.json of a diffusers folder. Raises ModelRefusedError when it is missing or broken."""
    path = folder / "model_index.json"
    if _kind(path) == "missing":
        raise ModelRefusedError(f"{str(folder)!r} has no model_index.json: expected a diffusers pipeline folder")
    _refuse_leaving(path, folder)
    index = read_json(path)
    class_name = index.get("_class_name")
    if isinstance(class_name, list):
        raise ModelRefusedError(f"model_index.json names a pipeline of its own, {class_name!r:.99}: {NO_CODE}")
    if not isinstance(class_name, str):
        raise ModelRefusedError(f"{str(path)!r} names no pipeline class: expected a diffusers pipeline folder")
    return index


def hash_model_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every weight, configuration and tokenizer file of a diffusers folder, by relative path.

    Raises ModelRefusedError when one cannot be read.
    """
    digests: dict[str, str] = {}
    for path in _files(folder):
        if path.suffix in HASHED_SUFFIXES and _kind(path) == "file":
            try:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise ModelRefusedError(f"{shown(path)} cannot be read: {error.strerror}; {AGAIN}") from error
            digests[path.relative_to(folder).as_posix()] = digest
    return digests


def model_fingerprint(files: Mapping[str, str]) -> str:
    """One SHA-256 over all file digests: changes when any weight or configuration file does."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def refuse_unsafe(folder: Path, index: Mapping[str, Any]) -> None:
    """Refuse a folder that reaches out of itself, brings code, or would be audited in part only.

    Raises ModelRefusedError that names the component or file, with the reason and what to do.
    """
    _refuse_index(index)
    _refuse_files(folder)
    for component in ("text_encoder", "unet", "vae"):
        path = folder / component / "config.json"
        config = read_json(path)
        _refuse_keys(path, config)
        _refuse_sizes(path, config)
    _refuse_schedule(folder / "scheduler" / "scheduler_config.json")
    _refuse_tokenizer(folder / "tokenizer")


def _refuse_index(index: Mapping[str, Any]) -> None:
    if index["_class_name"] != "StableDiffusionPipeline":
        raise ModelRefusedError(
            f"{index['_class_name']!r:.80} is not supported; this version audits StableDiffusionPipeline (Stable "
            "Diffusion 1.x and 2.x)"
        )
    if missing := sorted(COMPONENTS.keys() - index.keys()):
        raise ModelRefusedError(f"model_index.json names no {missing[0]!r}, without which no image can be generated")
    for component, entry in index.items():
        if component.startswith("_"):
            continue
        if not component.isidentifier():
            raise ModelRefusedError(
                f"model_index.json names a component {component!r:.80}, which is a path, not a name"
            )
        if isinstance(entry, list) or component in COMPONENTS:
            _refuse_component(component, entry)


def _refuse_component(component: str, entry: Any) -> None:
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(part, str | None) for part in entry):
        raise ModelRefusedError(
            f"component {component!r} must be [library, class] in model_index.json, not {entry!r:.80}"
        )
    if entry[0] is not None and entry[0] not in LIBRARIES:
        raise ModelRefusedError(
            f"component {component!r} comes from {entry[0]!r:.80} and brings its own code: {NO_CODE}"
        )
    if component in NEVER_LOADED or (component not in COMPONENTS and entry[0] is None):
        return
    if component not in COMPONENTS:
        raise ModelRefusedError(
            f"component {component!r}, a {entry[1]!r:.80}, is no part of a StableDiffusionPipeline: the audit would "
            "leave it out and measure another model"
        )
    library, classes = COMPONENTS[component]
    if entry[0] != library or entry[1] is None or (classes and entry[1] not in classes):
        expected = " or ".join(classes) or "one of its schedulers"
        raise ModelRefusedError(
            f"component {component!r} is {entry!r:.99}; this version audits those that are {expected} from {library}"
        )


def _files(folder: Path) -> list[Path]:
    """Everything in a folder that is no folder, in order. Links to folders are not followed, but listed."""
    found: list[Path] = []
    waiting = [folder]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    (waiting if entry.is_dir(follow_symlinks=False) else found).append(Path(entry.path))
            if len(found) + len(waiting) > MAX_FILES:
                raise ModelRefusedError(
                    f"{str(folder)!r} has more than {MAX_FILES:,} files: expected one model's folder"
                )
    except OSError as error:
        raise ModelRefusedError(f"{error.filename!r} cannot be listed: {error.strerror}; {AGAIN}") from error
    return sorted(found)


def _refuse_files(folder: Path) -> None:
    for path in _files(folder):
        _refuse_leaving(path, folder)
        kind = _kind(path)
        if kind == "folder":
            raise ModelRefusedError(
                f"{shown(path)} is a link to a folder, so its files would have no hash: copy the folder"
            )
        if kind == "special" and path.suffix in HASHED_SUFFIXES:
            raise ModelRefusedError(f"{shown(path)} is not a regular file, but a pipe or a device: remove it")
        if path.name.startswith(ADAPTERS) or (path.suffix == ".pt" and path.parent == folder):
            pickled = "" if path.suffix in HASHED_SUFFIXES else "; besides, it is pickled, so it was not opened"
            raise ModelRefusedError(f"{shown(path)} looks like a LoRA or an embedding: {NO_LORA}{pickled}")


def _refuse_leaving(path: Path, folder: Path) -> None:
    root, target = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    # The hub's cache keeps the files of its snapshots beside them, and the snapshots link to them.
    in_cache = root.parent.name == "snapshots" and target.is_relative_to(root.parent.parent / "blobs")
    if not in_cache and not target.is_relative_to(root):
        raise ModelRefusedError(
            f"{shown(path)} is a link that leaves the model's folder: copy the file if you trust it"
        )


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "missing"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"


def _refuse_keys(path: Path, config: Mapping[str, Any]) -> None:
    for key, why in FORBIDDEN_KEYS.items():
        if config.get(key):
            raise ModelRefusedError(f"{shown(path)} sets {key!r}: {why}")
    for key in ("attn_implementation", "_attn_implementation"):
        if config.get(key) not in (None, "eager", "sdpa"):
            raise ModelRefusedError(f"{shown(path)} sets {key!r}, which may fetch code from the hub: delete the key")


def _refuse_sizes(path: Path, config: Mapping[str, Any]) -> None:
    waiting = list(config.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict | list):
            waiting.extend(value.items() if isinstance(value, dict) else ((key, part) for part in value))
        elif isinstance(value, int) and abs(value) > MAX_SIZE:
            raise ModelRefusedError(f"{shown(path)} sets {key!r:.80} to {value!s:.20}; expected at most {MAX_SIZE:,}")


def _refuse_schedule(path: Path) -> None:
    steps = read_json(path).get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or not 1 <= steps <= MAX_TIMESTEPS:
        raise ModelRefusedError(
            f"{shown(path)} sets num_train_timesteps to {steps!r:.80}; expected a number from 1 to {MAX_TIMESTEPS:,}"
        )


def _refuse_tokenizer(folder: Path) -> None:
    """Without its files transformers makes a tokenizer that knows no word, and it follows some paths in their place."""
    files = {path.name: path for path in _files(folder) if path.parent == folder and _kind(path) == "file"}
    if "tokenizer.json" in files:
        _refuse_vocabulary(read_json(files["tokenizer.json"], MAX_VOCABULARY_BYTES))
    elif not {"vocab.json", "merges.txt"} <= files.keys():
        raise ModelRefusedError(
            f"'tokenizer' needs tokenizer.json, or vocab.json and merges.txt, and has neither; {AGAIN}"
        )
    for name, path in files.items():
        if path.suffix == ".txt" and path.stat().st_size > MAX_VOCABULARY_BYTES:
            raise ModelRefusedError(f"{shown(path)} has more than {MAX_VOCABULARY_BYTES:,} bytes; {AGAIN}")
        config = read_json(path, MAX_VOCABULARY_BYTES) if path.suffix == ".json" else {}
        # The other files map words to numbers, and any word may be among them.
        if name in ("tokenizer_config.json", "special_tokens_map.json"):
            _refuse_keys(path, config)
            _refuse_paths(path, config)


def _refuse_vocabulary(tokenizer: Mapping[str, Any]) -> None:
    model = tokenizer.get("model")
    if not isinstance(model, dict) or not model.get("vocab") or not isinstance(model.get("merges"), list):
        raise ModelRefusedError(f"'tokenizer/tokenizer.json' has no vocabulary with merges; {AGAIN}")
    # A false one makes the Rust code panic, which prints a trace however it is caught.
    if "precompiled_charsmap" in json.dumps(tokenizer.get("normalizer")):
        raise ModelRefusedError(
            "'tokenizer/tokenizer.json' has a normaliser that CLIP does not: this version audits CLIP"
        )


def _refuse_paths(path: Path, config: Mapping[str, Any]) -> None:
    """Stale paths of the machine where a model was trained are common and harmless; those that exist here are not."""
    folder = path.parent.absolute()
    for key, value in config.items():
        if not key.endswith(("_file", "_files")):
            continue
        for text in value if isinstance(value, list) else [value]:
            target = Path(os.path.normpath(folder / str(text)))
            if not target.is_relative_to(os.path.normpath(folder)) and _kind(target) != "missing":
                raise ModelRefusedError(
                    f"{shown(path)} sets {key!r} to {text!r:.200}, which is outside the model's folder: delete the key"
                )
