"""What files of weights say of themselves: their headers, read and checked before a single tensor is loaded."""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import (
    AGAIN,
    NO_LORA,
    DuplicateKeyError,
    FalseHeaderError,
    build_object,
    quote,
    read_json,
)
from imgaudit.models.files.variants import name_weight_files, refuse_other_indexes

Shapes = dict[str, tuple[int, ...]]
"""The tensors of a network by name."""

MAX_HEADER_BYTES = 16 * 2**20
"""Headers that claim to be longer are refused unread; that of Stable Diffusion's UNet has 0.1 MB."""

PICKLED_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})

BYTES_OF = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
"""Size of one number of every type that a network may hold."""

FLOAT8 = frozenset({"F8_E4M3", "F8_E5M2"})
"""Types to which weights are rounded to take less room."""

WHOLE = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})
"""Types of numbers of positions and tokens. Weights that are stored as these were rounded."""

NO_SCALES = "audit the model that they were made from, or its plain float8 or GGUF file"
"""Advice for weights that stand for other numbers."""

UNMERGED = re.compile(
    r"lora|lycoris|lokr_|hada_w|dora_scale|oft_(blocks|diag)|^emb_params$|^<.*>$|bundle_emb|string_to_param"
    r"|ip_adapter|^image_proj\.|control_model|controlnet|hypernet",
    re.IGNORECASE,
)
"""Tensors of a LoRA, another adapter or a textual inversion: an addition to a model, not a part of it."""

SCALES = re.compile(
    r"(^|\.)(scaled_fp8|scale_weight|scale_input|weight_scale(_inv|_2)?|input_scale|comfy_quant|SCB|weight_format"
    r"|qweight|qzeros|wscales|(nested_)?absmax|(nested_)?quant_map|quant_state\..+)$"
)
"""Tensors beside rounded weights, without which these stand for other numbers."""

SCALES_KEY = "_quantization_metadata"
"""Key in a header by which ComfyUI says the same."""


@dataclass(frozen=True)
class Weights:
    """The weights of one network, found but not loaded."""

    shapes: Shapes
    """Its tensors."""
    files: tuple[Path, ...]
    """The files that hold them, and the index that names these."""
    variant: str = ""
    """Variant of the files."""
    load: Callable[[], dict[str, Any]] | None = None
    """Reads the tensors, under these names, where the libraries cannot."""


def read_shapes(path: Path) -> Shapes:
    """Read the tensors' shapes of one safetensors file, whose header must account for every byte.

    Raises ModelRefusedError when it does not, or when something else goes by that name.
    """
    try:
        with path.open("rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.read(8)
            length = int.from_bytes(start, "little")
            text = file.read(length) if length <= min(size - 8, MAX_HEADER_BYTES) else b""
    except OSError as error:
        raise ModelRefusedError(f"{quote(path)} cannot be read: {error.strerror}; {AGAIN}") from error
    try:
        header = json.loads(text, object_pairs_hook=build_object)
        return _check_header(header, size - 8 - length)
    except (FalseHeaderError, DuplicateKeyError) as error:
        raise ModelRefusedError(f"{quote(path)} is damaged: {error}; {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise ModelRefusedError(
            f"{quote(path)} is no safetensors file: {_what_it_is(start, length, size)}; {AGAIN}"
        ) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Read what the writer of a safetensors file noted in its header, which `read_shapes` has checked."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        noted = json.loads(file.read(min(length, MAX_HEADER_BYTES))).get("__metadata__")
    return noted if isinstance(noted, dict) else {}


def read_types(path: Path) -> dict[str, str]:
    """Read the types of the tensors of a safetensors file, which `read_shapes` has checked, by name."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: entry["dtype"] for name, entry in header.items() if name != "__metadata__"}


def refuse_scaled(path: Path) -> None:
    """Refuse a safetensors file whose weights mean other numbers than they are stored as: ModelRefusedError.

    Those are weights with scales beside them, and weights that are whole numbers.
    """
    types = read_types(path)
    found = next(filter(SCALES.search, types), "") or (SCALES_KEY if SCALES_KEY in read_metadata(path) else "")
    if found:
        raise ModelRefusedError(
            f"{quote(path)} holds weights that were rounded, and scales beside them ({found!r:.99}), without which "
            f"they stand for other numbers; this version applies none: {NO_SCALES}"
        )
    whole = next((name for name, kind in types.items() if kind in WHOLE and name.endswith((".weight", ".bias"))), "")
    if whole:
        raise ModelRefusedError(
            f"{quote(path)} holds weights that are whole numbers ({whole!r:.99} is {types[whole]}), which stand for "
            f"others in a way that the file does not say: {NO_SCALES}"
        )


def _what_it_is(start: bytes, length: int, size: int) -> str:
    if start.startswith((b"PK", b"\x80")):
        kind = "a zip archive with a pickle" if start.startswith(b"PK") else "a pickle"
        return f"it is {kind}, which can run code when opened, under another name"
    if start.startswith(b"version "):
        return "it is a pointer of git-lfs: run `git lfs pull`"
    if size < 8:
        return f"it has {size} bytes"
    if length > size - 8:
        return f"its header would have {length:,} bytes in a file of {size:,}"
    return f"its header is no JSON of at most {MAX_HEADER_BYTES:,} bytes"


def _check_header(header: Any, data_bytes: int) -> Shapes:
    if not isinstance(header, dict):
        raise FalseHeaderError("its header is no JSON object")
    shapes, spans = {}, []
    for name, entry in header.items():
        if name != "__metadata__":
            shapes[name], span = _check_entry(name, entry)
            spans.append((*span, name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise FalseHeaderError(
                f"tensor {name!r:.99} starts at byte {start:,}, but the one before it ends at {end:,}"
            )
        end = stop
    if end != data_bytes:
        raise FalseHeaderError(f"its tensors take {end:,} bytes, but {data_bytes:,} follow the header")
    return shapes


def _check_entry(name: str, entry: Any) -> tuple[tuple[int, ...], tuple[int, int]]:
    entry = entry if isinstance(entry, dict) else {}
    shape, offsets, dtype = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise FalseHeaderError(f"tensor {name!r:.99} has shape {shape!r:.40} and offsets {offsets!r:.40}")
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise FalseHeaderError(f"tensor {name!r:.99} is of type {dtype!r:.40}, not one of {', '.join(BYTES_OF)}")
    start, stop = offsets
    if stop - start != math.prod(shape) * BYTES_OF[dtype]:
        raise FalseHeaderError(
            f"tensor {name!r:.99} of shape {shape!r:.40} and type {dtype} cannot have {stop - start:,} bytes"
        )
    return tuple(shape), (start, stop)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def find_weights(folder: Path, stem: str, variant: str = "") -> Weights:
    """Find the tensors of one network: those of `stem`.safetensors, or of the shards that its index names.

    variant:  of the files, which is a part of their names; "" stands for the plain ones
    Raises ModelRefusedError when there are no such files, they are damaged, or hold a LoRA that is not merged.
    """
    whole, index = (folder / name for name in name_weight_files(stem, variant))
    names = sorted(path.name for path in folder.glob("*"))
    # transformers takes files of this name for the weights, whatever else there is.
    stray = [name for name in names if re.match(r"shard-\d+-model-", name)]
    if stray or (whole.is_file() and index.is_file()):
        also = stray[0] if stray else index.name
        raise ModelRefusedError(
            f"{folder.name!r} has {also!r} besides {whole.name!r}: remove the one that is not meant"
        )
    if variant:
        refuse_other_indexes(folder, stem, variant)
    if index.is_file():
        shapes, shards = _shard_shapes(index)
        files = (index, *shards)
    elif whole.is_file():
        shapes, files = read_shapes(whole), (whole,)
    else:
        raise _no_weights(folder.name, whole.name, names)
    refuse_unmerged(whole, shapes)
    held = [path for path in files if path.suffix == ".safetensors"]
    for path in held:
        refuse_scaled(path)
    if any(FLOAT8 & set(read_types(path).values()) for path in held):
        raise ModelRefusedError(
            f"{folder.name!r} has weights rounded to float8: they are another model than the one they were made from; "
            "audit that one, or their single file"
        )
    return Weights(shapes, files, variant)


def refuse_unmerged_weights(folder: Path) -> None:
    """Refuse LoRA and textual inversion files beside a model, whatever they are called. Raises ModelRefusedError."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            shapes = read_shapes(path)
        except ModelRefusedError:
            # Nothing of this file is loaded, so it need not be whole.
            continue
        refuse_unmerged(path, shapes)


def refuse_unmerged(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a file of weights with tensors that are an addition to a model: ModelRefusedError."""
    if found := next(filter(UNMERGED.search, shapes), None):
        raise ModelRefusedError(
            f"{quote(path)} holds a LoRA or an embedding, or another adapter ({found!r:.99}): {NO_LORA}"
        )


def _no_weights(component: str, expected: str, names: list[str]) -> ModelRefusedError:
    pickled = [name for name in names if Path(name).suffix in PICKLED_SUFFIXES]
    if pickled and not any(name.endswith(".safetensors") for name in names):
        return ModelRefusedError(
            f"component {component!r} has only pickled weights ({pickled[0]!r}), which can run code when opened; "
            "convert them to safetensors first"
        )
    held = ", ".join(map(repr, names[:8])) or "nothing"
    return ModelRefusedError(f"component {component!r} has no regular file {expected!r}, but holds {held}; {AGAIN}")


def _shard_shapes(index: Path) -> tuple[Shapes, list[Path]]:
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(shard, str) for shard in placed.values()):
        raise ModelRefusedError(f"{quote(index)} has no weight_map from tensors to files; {AGAIN}")
    held: dict[str, Shapes] = {}
    there = {path.name for path in index.parent.glob("*") if path.is_file()}
    for shard in sorted(set(placed.values())):
        path = index.parent / shard
        if Path(shard).name != shard or "\\" in shard or path.suffix != ".safetensors":
            raise ModelRefusedError(
                f"{quote(index)} names {shard!r:.200} as a shard: expected a safetensors file beside it"
            )
        if shard not in there:
            raise ModelRefusedError(f"{quote(index)} names {shard!r:.200}, which is not there; {AGAIN}")
        held[shard] = read_shapes(path)
    for name, shard in placed.items():
        if name not in held[shard]:
            raise ModelRefusedError(
                f"{quote(index)} says that {name!r:.99} is in {shard!r}, which does not hold it; {AGAIN}"
            )
    return {name: held[shard][name] for name, shard in placed.items()}, [index.parent / shard for shard in held]
