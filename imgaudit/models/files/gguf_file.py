"""GGUF files: their headers, read and checked before anything else is, and their tensors as the numbers they stand for.

Only sizes and functions are taken from other libraries; the file itself is read here, up to a limit.
"""

import importlib.util
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import AGAIN, FalseHeaderError, quote

MAX_HEADER_BYTES = 16 * 2**20
"""No more is read of a header; that of FLUX.1 has 0.1 MB."""

MAX_TENSORS, MAX_KEYS, MAX_DIMENSIONS = 10_000, 10_000, 4
"""Headers that announce more are refused."""

VERSIONS = (2, 3)
"""Versions of the format that are read; both are laid out alike."""

ALIGNMENT = "general.alignment"
"""The key that says at multiples of how many bytes tensors begin."""

FORMATS = ("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d")
"""struct's letters of the format's types of values, in their order."""

STRING, ARRAY = 8, 9

NO_GGUF = "reading a GGUF file takes the library gguf, which is not installed: pip install 'imgaudit[gguf]'"


@dataclass(frozen=True)
class Tensor:
    """The place and the type of a tensor in a file."""

    shape: tuple[int, ...]
    """As torch has it."""
    type: Any
    """gguf.GGMLQuantizationType."""
    start: int
    """Its first byte, counted from the beginning of the file."""
    size: int
    """Its bytes."""


class _Header:
    """The beginning of a file, read from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise FalseHeaderError("its header is longer than the file, or than any model's")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, letter: str) -> Any:
        return struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int, nested: bool = False) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY and not nested:
            inner, count = self.number("I"), self.number("Q")
            if inner == STRING:
                # Each takes eight bytes at least, so that no count can make this long.
                return [self.text() for _ in range(min(count, len(self.data)))]
            letter = self._letter(inner)
            return list(struct.unpack(f"<{count}{letter}", self.take(count * struct.calcsize("<" + letter))))
        return self.number(self._letter(kind))

    def _letter(self, kind: int) -> str:
        if not 0 <= kind < len(FORMATS) or not FORMATS[kind]:
            raise FalseHeaderError(f"it has a value of the unknown type {kind}")
        return FORMATS[kind]


def read_gguf(path: Path) -> dict[str, Tensor]:
    """Read where the tensors of a GGUF file are; none of them leaves the file or overlaps another.

    Raises ModelRefusedError when its header cannot be true, and when gguf is not installed.
    """
    return _read(path)[1]


def read_gguf_notes(path: Path) -> dict[str, str]:
    """Read the keys of a GGUF file's header whose values are text. Raises ModelRefusedError as `read_gguf` does."""
    return {key: value for key, value in _read(path)[0].items() if isinstance(value, str)}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if importlib.util.find_spec("gguf") is None:
        raise ModelRefusedError(NO_GGUF)
    try:
        with path.open("rb") as file:
            data, size = file.read(MAX_HEADER_BYTES), path.stat().st_size
    except OSError as error:
        raise ModelRefusedError(f"{quote(path)} cannot be read: {error.strerror}; {AGAIN}") from error
    if data[:4] != b"GGUF":
        raise ModelRefusedError(f"{quote(path)} is no GGUF file: it begins with {data[:4]!r}; {AGAIN}")
    try:
        return _read_header(_Header(data), size)
    except FalseHeaderError as error:
        raise ModelRefusedError(f"{quote(path)} is damaged: {error}; {AGAIN}") from error


def _read_header(header: _Header, size: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header.take(4)
    version, count, keys = header.number("I"), header.number("Q"), header.number("Q")
    if version not in VERSIONS:
        raise FalseHeaderError(f"it is of version {version} of the format; expected {' or '.join(map(str, VERSIONS))}")
    if count > MAX_TENSORS or keys > MAX_KEYS:
        raise FalseHeaderError(f"it announces {count:,} tensors and {keys:,} keys")
    values = {}
    for _ in range(keys):
        key = header.text()
        values[key] = header.value(header.number("I"))
    alignment = values.get(ALIGNMENT, 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**16:
        raise FalseHeaderError(f"its tensors begin at multiples of {alignment!s:.40} bytes")
    found = [(header.text(), *_read_tensor(header)) for _ in range(count)]
    start = -(-header.at // alignment) * alignment
    tensors = {name: Tensor(shape, kind, start + offset, held) for name, shape, kind, offset, held in found}
    if len(tensors) < count:
        raise FalseHeaderError("two tensors have one name")
    end = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].start):
        if tensor.start < end or tensor.start + tensor.size > size:
            raise FalseHeaderError(f"tensor {name!r:.99} lies over another, or ends beyond the file's {size:,} bytes")
        end = tensor.start + tensor.size
    return values, tensors


def _read_tensor(header: _Header) -> tuple[tuple[int, ...], Any, int, int]:
    import gguf

    count = header.number("I")
    if count > MAX_DIMENSIONS:
        raise FalseHeaderError(f"it has a tensor of {count} dimensions")
    sides = [header.number("Q") for _ in range(count)]
    number, offset = header.number("I"), header.number("Q")
    try:
        kind = gguf.GGMLQuantizationType(number)
    except ValueError as error:
        raise FalseHeaderError(f"it has a tensor of the unknown type {number}") from error
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if (sides[0] if sides else 1) % block:
        raise FalseHeaderError(f"it has rows of {sides[0]:,} numbers in blocks of {block}")
    return tuple(reversed(sides)), kind, offset, math.prod(sides) // block * size


def load_gguf(path: Path, tensors: dict[str, Tensor], names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Load tensors of a file, in single precision where they are quantised.

    Raises ModelRefusedError for types that diffusers cannot read.
    """
    return {name: _load(path, tensors[name]) for name in names}


def _load(path: Path, tensor: Tensor) -> torch.Tensor:
    from diffusers.quantizers.gguf.utils import GGML_QUANT_SIZES, dequantize_functions

    data = torch.from_numpy(np.fromfile(path, np.uint8, tensor.size, offset=tensor.start))
    plain = {"F32": torch.float32, "F16": torch.float16, "F64": torch.float64}.get(tensor.type.name)
    if plain is not None:
        return data.view(plain).reshape(tensor.shape)
    if tensor.type not in dequantize_functions:
        raise ModelRefusedError(f"{quote(path)} has tensors of type {tensor.type.name}, which diffusers cannot read")
    block, size = GGML_QUANT_SIZES[tensor.type]
    numbers = dequantize_functions[tensor.type](data.reshape(-1, size), block, size, dtype=torch.float32)
    return numbers.float().reshape(tensor.shape)


def describe_quantisation(tensors: Iterable[Tensor]) -> str:
    """Describe for people how a file's tensors are quantised; "" where none is.

    >>> describe_quantisation([])
    ''
    """
    kinds = sorted({tensor.type.name for tensor in tensors} - {"F32", "F16", "F64", "BF16"})
    return f"GGUF {', '.join(kinds)}" if kinds else ""
