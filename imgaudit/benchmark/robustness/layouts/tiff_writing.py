"""A writer of TIFFs that lays out samples in any way the specification allows: what readers are tried with."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PLAIN, LZW, ZIP, PACKBITS = 1, 5, 8, 32773
TILE, STRIP = 16, 8
"""Side of the tiles, and rows of a strip."""

_SIZES = {"B": 1, "H": 3, "I": 4}

ByteOrder = Literal["<", ">"]
"""Little-endian or big-endian."""


@dataclass(frozen=True)
class TiffForm:
    """Way in which samples are stored."""

    photometric: int
    """Photometric interpretation."""
    bits: int = 8
    """Bits a sample."""
    kind: str = "u"
    """"u" for unsigned integers, "i" for signed ones, "f" for floating point."""
    order: ByteOrder = "<"
    """Byte order: "<" for little-endian, ">" for big-endian."""
    separate: bool = False
    """Whether each channel is stored for itself."""
    compression: int = PLAIN
    """Compression."""
    predictor: int = 1
    """1 for none, 2 for differences between neighbours."""
    extra: int | None = None
    """Kind of the extra channel: 0 for unspecified, 1 for associated alpha, 2 for unassociated; None for none."""
    tiled: bool = False
    """Tiles instead of strips."""
    reversed_bits: bool = False
    """Whether the bits of each byte are stored from the lowest."""
    orientation: int = 1
    """Orientation tag."""

    @property
    def name(self) -> str:
        """The layout in words."""
        colours = {0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 5: "CMYK", 8: "Lab", 9: "ICC Lab"}
        extras = {None: "", 0: ", extra channel", 1: ", associated alpha", 2: ", alpha"}
        packing = {PLAIN: "plain", LZW: "LZW", ZIP: "ZIP", PACKBITS: "PackBits"}[self.compression]
        more = [
            "planar" if self.separate else "", "tiles" if self.tiled else "",
            "predictor" if self.predictor == 2 else "", "reversed bits" if self.reversed_bits else "",
            f"orientation {self.orientation}" if self.orientation > 1 else "",
        ]  # fmt: skip
        order = "little-endian" if self.order == "<" else "big-endian"
        words = ", ".join([f"{self.bits} bit {self.kind}", order, packing, *filter(None, more)])
        return f"{colours[self.photometric]}{extras[self.extra]}, {words}"


def write_tiff(samples: NDArray[np.generic], form: TiffForm, palette: NDArray[np.uint16] | None = None) -> bytes:
    """Return a TIFF of samples (height, width, channels) in the form's kind of numbers.

    palette: (3, 2**bits) for a palette
    """
    height, width, channels = samples.shape
    planes = [samples[..., n : n + 1] for n in range(channels)] if form.separate else [samples]
    side = TILE if form.tiled else 0
    blocks = [block for plane in planes for block in _cut(plane, side)]
    body, offsets, counts = b"", [], []
    for block in blocks:
        packed = _pack(block, form)
        offsets.append(8 + len(body))
        counts.append(len(packed))
        body += packed + b"\0" * (len(packed) % 2)
    fields: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [form.bits] * channels), 259: ("H", [form.compression]),
        262: ("H", [form.photometric]), 277: ("H", [channels]), 284: ("H", [2 if form.separate else 1]),
        339: ("H", [{"u": 1, "i": 2, "f": 3}[form.kind]] * channels), 274: ("H", [form.orientation]),
    }  # fmt: skip
    if form.tiled:
        fields |= {322: ("H", [TILE]), 323: ("H", [TILE]), 324: ("I", offsets), 325: ("I", counts)}
    else:
        fields |= {273: ("I", offsets), 278: ("I", [STRIP]), 279: ("I", counts)}
    if form.predictor != 1:
        fields[317] = ("H", [form.predictor])
    if form.extra is not None:
        fields[338] = ("H", [form.extra])
    if form.reversed_bits:
        fields[266] = ("H", [2])
    if palette is not None:
        fields[320] = ("H", palette.reshape(-1).tolist())
    return _join(form.order, body, fields)


def _join(order: str, body: bytes, fields: dict[int, tuple[str, list[int]]]) -> bytes:
    start = 8 + len(body)
    beyond = start + 2 + 12 * len(fields) + 4
    entries, values = struct.pack(f"{order}H", len(fields)), b""
    for tag, (code, numbers) in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", beyond + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, _SIZES[code], len(numbers)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + body + entries + struct.pack(f"{order}I", 0) + values


def _cut(plane: NDArray[np.generic], side: int) -> list[NDArray[np.generic]]:
    """Cut a plane into strips, or into tiles that are filled up at the right and at the bottom."""
    height, width = plane.shape[:2]
    if not side:
        return [plane[start : start + STRIP] for start in range(0, height, STRIP)]
    padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    return [
        padded[top : top + side, left : left + side] for top in range(0, height, side) for left in range(0, width, side)
    ]


def _pack(block: NDArray[np.generic], form: TiffForm) -> bytes:
    """Return the bytes of a strip or tile: predicted, packed into bits, compressed, and its bits reversed."""
    if form.bits in {8, 16, 32, 64}:
        values = block
        if form.predictor == 2:
            integers = block.view(f"u{form.bits // 8}")
            values = np.concatenate([integers[:, :1], integers[:, 1:] - integers[:, :-1]], axis=1)
        raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder(form.order)).tobytes()
    else:
        rows = block.reshape(len(block), -1).astype(np.uint32)
        shifts = np.arange(form.bits - 1, -1, -1, dtype=np.uint32)
        bits = ((rows[..., None] >> shifts) & 1).reshape(len(rows), -1).astype(np.uint8)
        raw = np.packbits(bits, axis=1).tobytes()
    compress: dict[int, Callable[[bytes], bytes]] = {
        PLAIN: bytes, ZIP: zlib.compress, PACKBITS: pack_literally, LZW: compress_lzw,
    }  # fmt: skip
    packed = compress[form.compression](raw)
    if form.reversed_bits:
        packed = np.packbits(np.unpackbits(np.frombuffer(packed, np.uint8)), bitorder="little").tobytes()
    return packed


def pack_literally(raw: bytes) -> bytes:
    """Return PackBits of literal runs of up to 128 bytes."""
    return b"".join(bytes([len(run) - 1]) + run for run in (raw[at : at + 128] for at in range(0, len(raw), 128)))


def compress_lzw(raw: bytes) -> bytes:
    """Return LZW as TIFF has it, of literals only: the table is cleared before it needs codes of 10 bits."""
    codes: list[int] = []
    for at in range(0, len(raw), 200):
        codes += [256, *raw[at : at + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
