"""Contents of an untrusted diffusers folder, read before anything of it is loaded: its index, hashes, and refusals."""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Container, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.io.reading import hash_file, read_bounded
from imgaudit.models.families.family import ABSENT, Component, Family
from imgaudit.models.families.refused import MODULAR

LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""Libraries of components' classes; every other name in model_index.json stands for code in the folder."""

HASHED_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})
"""Files that can change what a model does, as far as they are ever opened."""

MAX_CONFIG_BYTES = 4 * 2**20
"""Configuration files and indexes of shards that are larger are refused unread."""

MAX_FILES = 20_000
"""Folders with more files are no model."""

MAX_SIZE = 1_000_000
"""Whole numbers in a network's configuration that are larger would fill the memory: they stand for sizes and counts."""

MAX_TIMESTEPS = 100_000
"""Schedules that are longer would fill the memory; Stable Diffusion's has 1,000 steps."""

MAX_PLACES = 8192
"""Places along an axis for which a table of rotations is made; Z-Image has up to 1,536, Lumina 512."""

MAX_AXES = 1024
"""Channels of one head whose positions are rotated; tables of more would fill the memory, and FLUX has 128."""

MAX_TABLES = 8
"""Tables that a network has; three are usual: text, height and width."""

TABLES: Mapping[str, int] = {
    **dict.fromkeys(("axes_dims_rope", "axes_dims", "axes_dim_rope", "rope_axes_dim"), MAX_AXES),
    "axes_lens": MAX_PLACES,
}
"""Keys whose values are sizes of tables that are made apart from the weights, and how large they may be."""

MODULAR_INDEX = "modular_model_index.json"
"""File by which a folder that is no pipeline is told to be a modular one."""

ADAPTERS = ("pytorch_lora_weights", "learned_embeds", "adapter_model", "adapter_config")
"""Beginnings of the names of LoRA, textual inversion and PEFT files."""

ADAPTER_FILES = ("adapter_config.json", "pytorch_lora_weights.safetensors")
"""Files by which a folder that is no model is told to be a LoRA's."""

SINGLE_FILES = (".safetensors", ".gguf")
"""Endings of files that may hold a whole model, or its transformer."""

# What messages end with: why, and what to do.
NO_CODE = "code that a model brings is never run; ask for the model in the classes of diffusers and transformers"
NO_LORA = (
    "what lies beside a model is not applied, so the base model alone would be audited; move it away, and name a LoRA "
    "with --lora"
)
AGAIN = "download or export the model again"

FORBIDDEN_KEYS: Mapping[str, str] = {
    "auto_map": NO_CODE,
    "custom_pipelines": NO_CODE,
    "trust_remote_code": NO_CODE,
    "quantization_config": "quantised weights are another model; audit the model that they were made from",
    "transformers_weights": "weights are read under their usual name only; rename the file and delete the key",
    **dict.fromkeys(
        ("gguf_file", "vocab", "merges", "init_inputs", "tokenizer_object", "_spm_precompiled_charsmap"),
        "vocabularies are read from their usual files only; delete the key",
    ),
}
"""Keys of configuration files that the libraries would obey, and why a model that sets them is refused."""


class FalseHeaderError(Exception):
    """The header of a file of weights cannot be true; the message says why."""


class DuplicateKeyError(ValueError):
    """A JSON object has a key twice, so that programs may read different values; the message says which."""


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object from its pairs. Raises DuplicateKeyError, where JSON's usual reader takes the last value."""
    value = dict(pairs)
    if len(value) < len(pairs):
        seen = set[str]()
        # The first name that `seen` holds already; adding to it returns nothing.
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DuplicateKeyError(f"the key {twice!r:.99} is there twice")
    return value


def quote(path: Path) -> str:
    """Return a file of a model as messages name it: its folder and name, with everything unprintable escaped."""
    return repr("/".join(path.parts[-2:]))


def read_json(path: Path, limit: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Read an untrusted JSON object.

    Raises ModelRefusedError for a file that cannot be read, is too large or holds none.
    """
    name = quote(path)
    try:
        value = json.loads(read_bounded(path, limit).decode("utf-8"), object_pairs_hook=build_object)
    except InputError as error:
        raise ModelRefusedError(f"{name}, which the model needs, {error}; {AGAIN}") from error
    except RecursionError as error:
        raise ModelRefusedError(f"{name} is nested too deeply to be a configuration; {AGAIN}") from error
    except DuplicateKeyError as error:
        raise ModelRefusedError(
            f"{name} is ambiguous: {error}, and other programs may read another value; {AGAIN}"
        ) from error
    except ValueError as error:
        raise ModelRefusedError(f"{name} is not JSON that can be parsed: {error}; {AGAIN}") from error
    if not isinstance(value, dict):
        raise ModelRefusedError(f"{name} holds a {type(value).__name__}, but a JSON object is expected; {AGAIN}")
    return value


def read_model_index(folder: Path) -> dict[str, Any]:
    """Read model_index.json of a diffusers folder. Raises ModelRefusedError when it is missing or broken."""
    path = folder / "model_index.json"
    if find_file_kind(path) == "missing":
        if adapter := next((name for name in ADAPTER_FILES if find_file_kind(folder / name) == "file"), None):
            raise ModelRefusedError(
                f"{str(folder)!r} holds {adapter!r}, so it is a LoRA or another adapter, not a model: name the model "
                "with --model, and the LoRA with --lora"
            )
        if find_file_kind(folder / MODULAR_INDEX) == "file":
            raise ModelRefusedError(f"{str(folder)!r} has no model_index.json: {MODULAR}")
        raise ModelRefusedError(
            f"{str(folder)!r} has no model_index.json: expected a diffusers pipeline folder{_suggest_model(folder)}"
        )
    refuse_leaving(path, folder)
    index = read_json(path)
    class_name = index.get("_class_name")
    if isinstance(class_name, list):
        raise ModelRefusedError(f"model_index.json names a pipeline of its own, {class_name!r:.99}: {NO_CODE}")
    if not isinstance(class_name, str):
        raise ModelRefusedError(f"{str(path)!r} names no pipeline class: expected a diffusers pipeline folder")
    return index


def _suggest_model(folder: Path) -> str:
    """Name what may be meant in a folder that is no model itself: models in it, or single files; empty without any."""
    with contextlib.suppress(OSError):
        entries = sorted(islice(folder.iterdir(), MAX_FILES))
        folders = [path for path in entries if find_file_kind(path / "model_index.json") == "file"]
        files = [path for path in entries if path.suffix.lower() in SINGLE_FILES and find_file_kind(path) == "file"]
        if found := (folders or files)[:3]:
            kind = "a folder with one" if folders else "a file of weights"
            named = ", ".join(repr(str(path)) for path in found)
            return f". It holds {kind}; if that is the model, give {named}"
    return ""


def hash_model_files(folder: Path, weights: Container[Path] | None = None) -> dict[str, str]:
    """Return the SHA-256 of every weight, configuration and tokenizer file of a diffusers folder, by relative path.

    weights:  the files of weights that are loaded, and the indexes of their shards; others are left out
    Raises ModelRefusedError when one cannot be read.
    """
    digests: dict[str, str] = {}
    for path in list_files(folder):
        idle = weights is not None and ".safetensors" in path.name and path not in weights
        if path.suffix in HASHED_SUFFIXES and not idle and find_file_kind(path) == "file":
            digests[path.relative_to(folder).as_posix()] = hash_model_file(path)
    return digests


def hash_model_file(path: Path) -> str:
    """Return the SHA-256 of a model's file. Raises ModelRefusedError when it cannot be read."""
    try:
        return hash_file(path)
    except OSError as error:
        raise ModelRefusedError(f"{quote(path)} cannot be read: {error.strerror}; {AGAIN}") from error


def model_fingerprint(files: Mapping[str, str]) -> str:
    """Return one SHA-256 over all file digests: it changes when any weight or configuration file does."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def refuse_unsafe(folder: Path, index: Mapping[str, Any], family: Family) -> None:
    """Refuse a folder that reaches out of itself, brings code, or would be audited in part only.

    index:   its model_index.json
    family:  the family of the pipeline that this names
    Raises ModelRefusedError that names the component or file, with the reason and what to do.
    """
    _refuse_index(index, family)
    _refuse_files(folder)
    for name in family.present(index, "network"):
        path, answers = folder / name / "config.json", folder / name / "generation_config.json"
        config = read_json(path)
        refuse_keys(path, config)
        _refuse_sizes(path, config)
        if find_file_kind(answers) == "file":
            # How a language model answers plays no part, but transformers reads the file, whatever its size.
            read_json(answers)
    for name in family.present(index, "scheduler"):
        _refuse_schedule(folder / name / "scheduler_config.json")


def _refuse_index(index: Mapping[str, Any], family: Family) -> None:
    present = family.present(index)
    if missing := sorted(present.keys() - index.keys()):
        raise ModelRefusedError(f"model_index.json names no {missing[0]!r}, without which no image can be generated")
    for switch in family.switches:
        if not isinstance(index.get(switch, False), bool):
            raise ModelRefusedError(
                f"model_index.json sets {switch!r} to {index[switch]!r:.80}; expected true or false"
            )
    for key, value in family.constants.items():
        if index.get(key, value) != value:
            raise ModelRefusedError(f"model_index.json sets {key!r} to {index[key]!r:.80}; expected {value!r:.80}")
    for component, entry in index.items():
        if component.startswith("_") or component in family.constants:
            continue
        if not component.isidentifier():
            raise ModelRefusedError(
                f"model_index.json names a component {component!r:.80}, which is a path, not a name"
            )
        if isinstance(entry, list) or component in family.components:
            _refuse_component(component, entry, family, component in present)


def _refuse_component(name: str, entry: Any, family: Family, required: bool) -> None:
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(part, str | None) for part in entry):
        raise ModelRefusedError(f"component {name!r} must be [library, class] in model_index.json, not {entry!r:.80}")
    if entry[0] is not None and entry[0] not in LIBRARIES:
        raise ModelRefusedError(f"component {name!r} comes from {entry[0]!r:.80} and brings its own code: {NO_CODE}")
    expected = family.components.get(name)
    absent = entry[0] is None if expected is None else entry == ABSENT and not required
    if name in family.never_loaded or absent:
        return
    if expected is None:
        raise ModelRefusedError(
            f"component {name!r}, a {entry[1]!r:.80}, is no part of a {family.pipeline_class}: the audit would "
            "leave it out and measure another model"
        )
    _refuse_class(name, entry, expected)


def _refuse_class(name: str, entry: list[str | None], expected: Component) -> None:
    library, classes = expected.library, expected.classes
    if entry[0] != library or entry[1] is None or (classes and entry[1] not in classes):
        known = " or ".join(classes) or "one of its schedulers"
        raise ModelRefusedError(
            f"component {name!r} is {entry!r:.99}; this version audits those that are {known} from {library}"
        )


def list_files(folder: Path) -> list[Path]:
    """List everything in a folder that is no folder, in order. Links to folders are not followed, but listed."""
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
    for path in list_files(folder):
        refuse_leaving(path, folder)
        kind = find_file_kind(path)
        if kind == "folder":
            raise ModelRefusedError(
                f"{quote(path)} is a link to a folder, so its files would have no hash: copy the folder"
            )
        if kind == "special":
            raise ModelRefusedError(f"{quote(path)} is not a regular file, but a pipe or a device: remove it")
        if path.name.startswith(ADAPTERS) or (path.suffix == ".pt" and path.parent == folder):
            pickled = "" if path.suffix in HASHED_SUFFIXES else "; besides, it is pickled, so it was not opened"
            raise ModelRefusedError(f"{quote(path)} looks like a LoRA or an embedding: {NO_LORA}{pickled}")


def refuse_leaving(path: Path, folder: Path) -> None:
    """Refuse a link in a folder that leads out of it: ModelRefusedError. The hub's cache of that folder is within."""
    root, target = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    # The hub's cache keeps the files of its snapshots beside them, and the snapshots link to them.
    in_cache = root.parent.name == "snapshots" and target.is_relative_to(root.parent.parent / "blobs")
    if not in_cache and not target.is_relative_to(root):
        raise ModelRefusedError(
            f"{quote(path)} is a link that leaves the model's folder: copy the file if you trust it"
        )


def find_file_kind(path: Path) -> str:
    """Return "file", "folder", "special" (a pipe, a device) or "missing", after following links."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "missing"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"


def refuse_keys(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration file with a key by which the libraries run code or read elsewhere: ModelRefusedError.

    Models that are made of others have configurations within their own, which are looked through as well.
    """
    for key, value in _settings(config):
        if value and key in FORBIDDEN_KEYS:
            raise ModelRefusedError(f"{quote(path)} sets {key!r}: {FORBIDDEN_KEYS[key]}")
        if key in ("attn_implementation", "_attn_implementation") and value not in (None, "eager", "sdpa"):
            raise ModelRefusedError(f"{quote(path)} sets {key!r}, which may fetch code from the hub: delete the key")


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every key of a configuration with its value, and those of the objects and lists in it."""
    waiting = list(config.items())
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value, dict | list):
            waiting.extend(value.items() if isinstance(value, dict) else ((key, part) for part in value))


def _refuse_sizes(path: Path, config: Mapping[str, Any]) -> None:
    for key, value in _settings(config):
        if key in TABLES and isinstance(value, list) and len(value) > MAX_TABLES:
            raise ModelRefusedError(
                f"{quote(path)} sets {key!r:.80} to {len(value):,} numbers; expected at most {MAX_TABLES}"
            )
        # Tables of these are made apart from the weights, so that no file bounds them, and of fractions as well.
        kind, most = (int | float, TABLES[key]) if key in TABLES else (int, MAX_SIZE)
        if isinstance(value, kind) and not abs(value) <= most:
            raise ModelRefusedError(f"{quote(path)} sets {key!r:.80} to {value!s:.20}; expected at most {most:,}")


def _refuse_schedule(path: Path) -> None:
    config = read_json(path)
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or not 1 <= steps <= MAX_TIMESTEPS:
        raise ModelRefusedError(
            f"{quote(path)} sets num_train_timesteps to {steps!r:.80}; expected a number from 1 to {MAX_TIMESTEPS:,}"
        )
    _refuse_sizes(path, config)
