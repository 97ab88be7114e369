"""Samples of a TIFF's picture, whatever their number, order, width and meaning, as a picture of 8 bits a channel.

Pillow decodes the layouts that it is known to decode rightly; tifffile those that Pillow refuses, or takes for another
one. What neither decodes is refused: the tests and `imgaudit benchmark robustness` show which is which.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import TiffPage

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.tiff import read_number, read_numbers

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
"""Colour channels of each photometric interpretation that is read."""

ASSOCIATED, UNASSOCIATED = 1, 2
"""Kinds of alpha: colours multiplied by it, and colours as they are."""

PLAIN, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTANDARD = 1, 5, 7, 8, 32946, 32773, 34925, 50000
COMPRESSIONS = {
    PLAIN: "none", 2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4", LZW: "LZW", JPEG: "JPEG", DEFLATE: "ZIP",
    OLD_DEFLATE: "ZIP", PACKBITS: "PackBits", LZMA: "LZMA", ZSTANDARD: "Zstandard",
}  # fmt: skip
"""Compressions that are read, at least for some layouts."""

BY_TIFFFILE = frozenset({PLAIN, DEFLATE, OLD_DEFLATE, PACKBITS})
"""Compressions that tifffile decodes without another library."""

EIGHT_BIT = "reduced to 8 bit"
"""Note on a picture of which more bits a sample are known than are measured."""

FLOAT_AS_SRGB = "floating point without a colour profile, taken as sRGB"
"""Note on a picture that may as well hold light itself, as programs for HDR write it."""

MAX_DECODED_BYTES = 1 << 30
"""Pictures whose samples take more are refused."""

MAX_OUTSIDE = 0.01
"""Share of the samples of a floating-point picture that may lie outside 0 to 1. A convention, not a measurement."""

UNUSED_BITS = 4
"""Pictures of more than 8 bits that leave as many of the highest unused are refused. A convention too."""

NOTED_BITS = 2
"""Pictures that leave as many unused are read, and a note says so: they may just be dark."""

ADVICE = "export it as 8 or 16 bit RGB or grey, without compression or with ZIP"


@dataclass(frozen=True)
class Layout:
    """Meaning of a picture's samples."""

    photometric: int
    """Photometric interpretation."""
    bits: int
    """Bits a sample."""
    kind: str
    """"uint", "int" or "float"."""
    samples: int
    """Samples a pixel."""
    alpha: int
    """0 for none, or the kind of alpha: associated or not."""
    separate: bool
    """Whether each channel is stored for itself."""
    compression: int
    """Compression."""
    predictor: int
    """1 for none, 2 for differences, 3 for differences of floating-point numbers."""
    reversed_bits: bool
    """Whether the first pixel of a byte is in its lowest bit."""

    @property
    def channels(self) -> int:
        """Colour channels."""
        return CHANNELS[self.photometric]

    @property
    def name(self) -> str:
        """Short words for messages."""
        return f"TIFF of {self.samples} x {self.bits} bit {self.kind}"


def read_layout(page: TiffPage) -> Layout:
    """Return how the samples of a page are laid out. Raises ImageError for a meaning that is not known."""
    photometric = read_number(page, 262, -1)
    if photometric not in CHANNELS:
        raise ImageError(f"is a TIFF whose colours are of a kind that is not decoded ({photometric}): {ADVICE}")
    bits = read_numbers(page, 258) or (1.0,)
    kinds = set(read_numbers(page, 339)) or {1.0}
    if len(set(bits)) > 1 or len(kinds) > 1:
        raise ImageError(f"is a TIFF whose channels have different depths, which is not decoded: {ADVICE}")
    extras = read_numbers(page, 338)
    layout = Layout(
        photometric=photometric,
        bits=int(bits[0]),
        kind={1: "uint", 2: "int", 3: "float", 4: "uint"}.get(int(kinds.pop()), "complex"),
        samples=page.samplesperpixel,
        alpha=int(extras[0]) if extras and extras[0] in {ASSOCIATED, UNASSOCIATED} else 0,
        separate=page.samplesperpixel > 1 and read_number(page, 284, 1) == 2,
        compression=read_number(page, 259, 1),
        predictor=read_number(page, 317, 1),
        reversed_bits=read_number(page, 266, 1) == 2,
    )
    _check_layout(page, layout)
    return layout


def _check_layout(page: TiffPage, layout: Layout) -> None:
    if layout.compression not in COMPRESSIONS:
        raise ImageError(f"is a TIFF in a compression that is not decoded ({layout.compression}): {ADVICE}")
    if layout.kind not in {"uint", "float"} and layout.photometric not in {CIELAB, ICCLAB}:
        raise ImageError(f"is a {layout.name}, which does not say which number is white: {ADVICE}")
    if layout.samples < layout.channels + (1 if layout.alpha else 0) or page.imagedepth != 1:
        raise ImageError(f"is a {layout.name}, which does not fit its kind of colours: {ADVICE}")
    if layout.channels == 1 and layout.samples > 2:
        raise ImageError(f"is a {layout.name} that does not say which channel is the picture: {ADVICE}")
    if layout.photometric == SEPARATED and read_number(page, 332, 1) != 1:
        raise ImageError(f"is a TIFF of other inks than CMYK, which is not decoded: {ADVICE}")
    if layout.photometric == YCBCR and layout.compression != JPEG:
        whole = sum(page.databytecounts) == page.imagewidth * page.imagelength * 3 and layout.compression == PLAIN
        subsampling = read_numbers(page, 530) or ((1, 1) if whole else (2, 2))
        ratios = read_numbers(page, 532)
        limits = tuple(top / bottom for top, bottom in zip(ratios[::2], ratios[1::2], strict=False) if bottom)
        if subsampling != (1, 1) or limits not in {(), (0, 255, 128, 255, 128, 255)}:
            raise ImageError(f"is a TIFF in YCbCr at less than full resolution or range, not decoded: {ADVICE}")


def is_pillows(layout: Layout) -> bool:
    """Return whether Pillow decodes a layout as the TIFF specification says."""
    extra = layout.samples - layout.channels
    if layout.kind != "uint" or layout.predictor not in {1, 2} or extra > 1 or (extra and not layout.alpha):
        return False
    if layout.reversed_bits and (layout.bits, layout.compression) != (1, PLAIN) and layout.compression not in {2, 3, 4}:
        return False
    if layout.bits == 1:
        return layout.photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO} and not extra
    if layout.bits in {2, 4}:
        return layout.photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE} and not extra and layout.predictor == 1
    if layout.bits == 8:
        whole = layout.photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE, YCBCR} and not extra
        rgb = layout.photometric == RGB and not (layout.separate and layout.alpha == ASSOCIATED)
        return whole or rgb or (layout.photometric == SEPARATED and not extra)
    if layout.bits != 16 or layout.separate:
        return False
    return (layout.photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO} and not extra) or layout.photometric == RGB


def read_samples(page: TiffPage, layout: Layout) -> NDArray[np.generic]:
    """Return the samples of a page through tifffile: (height, width, samples).

    Raises ImageError when tifffile does not decode it, or a strip or tile is not whole.
    """
    known = layout.compression in BY_TIFFFILE and layout.photometric != YCBCR
    # Other readers take no notice of a predictor where there is no ZIP or LZW; tifffile does.
    known = known and (layout.predictor == 1 or layout.compression in {DEFLATE, OLD_DEFLATE})
    if not known or layout.predictor not in {1, 2} or layout.bits not in {1, 8, 16, 32, 64}:
        name = COMPRESSIONS[layout.compression]
        raise ImageError(
            f"is a {layout.name} in compression {name}, predictor {layout.predictor}, not decoded: {ADVICE}"
        )
    _check_segments(page, layout)
    values = np.asarray(page.asarray(squeeze=False, maxworkers=1))[:, 0]
    # Channels come first where each is stored for itself.
    return values[..., 0].transpose(1, 2, 0) if layout.separate else values[0]


def _check_segments(page: TiffPage, layout: Layout) -> None:
    """Raise ImageError unless every strip or tile is in the file, whole, and no larger than it should be."""
    width = page.tilewidth if page.is_tiled else page.imagewidth
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    line = (width * (1 if layout.separate else layout.samples) * layout.bits + 7) // 8
    across = -(-page.imagewidth // width)
    down = -(-page.imagelength // rows)
    count = across * down * (layout.samples if layout.separate else 1)
    if count != len(page.dataoffsets) or count != len(page.databytecounts) or line * rows * count > MAX_DECODED_BYTES:
        raise ImageError("is damaged or truncated: its strips or tiles do not make up its picture")
    file = page.parent.filehandle
    for number, (offset, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        last = not page.is_tiled and number % down == down - 1
        wanted = line * (page.imagelength - (down - 1) * rows if last else rows)
        if offset + size > file.size or not _is_whole(file, offset, size, wanted, layout.compression):
            raise ImageError("is damaged or truncated: a strip or tile of it is not whole")


def _is_whole(file: "object", offset: int, size: int, wanted: int, compression: int) -> bool:
    if compression == PLAIN:
        return size >= wanted
    if compression == PACKBITS:
        return 0 < size <= 2 * wanted + 1024
    file.seek(offset)  # type: ignore[attr-defined]
    unpacker = zlib.decompressobj()
    got = len(unpacker.decompress(file.read(size), wanted + 1))  # type: ignore[attr-defined]
    return got == wanted


def check_unused_bits(largest: int, bits: int, notes: list[str]) -> None:
    """Refuse a picture that leaves its highest bits unused, such as 12-bit numbers in 16; note it where they are few.

    largest:  number among its samples
    bits:     a sample, more than 8
    Raises ImageError.
    """
    used = largest.bit_length()
    if bits <= 8 or not 0 < used <= bits - NOTED_BITS:
        return
    if used <= bits - UNUSED_BITS:
        raise ImageError(
            f"uses only the lowest {used} of its {bits} bits, so it would come out nearly black or nearly white: "
            "export it so that it uses all of them"
        )
    notes.append(f"uses only the lowest {used} of its {bits} bits, and is taken as dark as that")


def check_reduced(image: Image.Image, notes: list[str], *, rounded: bool = False) -> None:
    """Do as `check_unused_bits` does for a picture of 16 bits a sample that Pillow reduced to 8: ImageError.

    rounded:  whether it was rounded, and not cut off
    """
    ranges = cast(Sequence[tuple[int, int]], image.getextrema())
    colours = [high for band, (_, high) in zip(image.getbands(), ranges, strict=True) if band not in "Aa"]
    largest = max(colours)
    if not largest:
        raise ImageError(
            "has no number above 255 of 65,535, so it would come out black: export it so that it uses all of its bits"
        )
    check_unused_bits((largest << 8) - (128 if rounded else 0), 16, notes)


def scale_to_eight_bit(values: NDArray[np.generic], bits: int, notes: list[str]) -> NDArray[np.uint8]:
    """Return samples of any depth as 0 to 255, by what the format says is white, and note it.

    values: unsigned integers whose white is 2**bits - 1, or floating point whose white is 1
    Raises ImageError for integers that leave their highest 4 bits unused (12-bit numbers in 16), and for floating
    point of which more than a hundredth lies outside 0 to 1: no rule says what is white in either.
    """
    if np.issubdtype(values.dtype, np.floating):
        inside = np.greater_equal(values, 0) & np.less_equal(values, 1)
        outside = 1 - float(inside.mean()) if values.size else 0.0
        if outside > MAX_OUTSIDE:
            raise ImageError(
                f"is floating point, and {outside:.0%} of its numbers lie outside 0 to 1, so nothing says which is "
                "white: export it as 8 or 16 bit"
            )
        if outside:
            notes.append("floating point outside 0 to 1 clipped")
        top = 1.0
    else:
        top = float(2**bits - 1)
        if bits == 8:
            return values.astype(np.uint8)
        check_unused_bits(int(values.max(initial=0)), bits, notes)
    if bits > 8:
        notes.append(EIGHT_BIT)
    reduced = np.empty(values.shape, dtype=np.uint8)
    # In bands of rows: as floating point the whole picture would take eight times its size.
    for start in range(0, len(values), 256):
        band = np.nan_to_num(values[start : start + 256].astype(np.float64), posinf=top)
        reduced[start : start + 256] = (np.clip(band / top, 0, 1) * 255).round()
    return reduced


def to_picture(values: NDArray[np.generic], page: TiffPage, layout: Layout, notes: list[str]) -> Image.Image:
    """Return samples (height, width, samples) as a picture in one of Pillow's modes of 8 bits a channel."""
    kept = layout.channels + (1 if layout.alpha else 0)
    if layout.samples > kept:
        notes.append("extra channels ignored")
    values = values[..., :kept]
    if layout.photometric == PALETTE:
        return _look_up(values[..., 0], page, layout)
    if layout.photometric in {CIELAB, ICCLAB}:
        return _make_lab(values, layout, notes)
    if layout.photometric == WHITE_IS_ZERO:
        white = 1.0 if values.dtype.kind == "f" else values.dtype.type(2**layout.bits - 1)
        if layout.alpha:
            raise ImageError(f"is a {layout.name} whose zero is white and which has an alpha channel: {ADVICE}")
        if values.dtype.kind == "u":
            check_unused_bits(int(values.max(initial=0)), layout.bits, notes)
        values = white - values  # type: ignore[operator]
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[layout.channels]
    if layout.alpha and mode == "CMYK":
        if layout.alpha == ASSOCIATED:
            raise ImageError(f"is a {layout.name} in CMYK multiplied by its alpha channel, not decoded: {ADVICE}")
        notes.append("alpha of a CMYK picture ignored")
        values = values[..., :4]
    elif layout.alpha:
        mode = "RGBa" if layout.alpha == ASSOCIATED else "RGBA"
        if layout.channels == 1:
            values = values[..., [0, 0, 0, 1]]
    reduced = scale_to_eight_bit(values, layout.bits, notes)
    return Image.frombytes(mode, (reduced.shape[1], reduced.shape[0]), reduced.tobytes())


def _look_up(indices: NDArray[np.generic], page: TiffPage, layout: Layout) -> Image.Image:
    table = page.colormap
    if table is None or table.shape[-1] < 2**layout.bits or layout.bits > 16:
        raise ImageError("is damaged: its palette is missing or too short")
    # Some writers fill in 0 to 255 where 0 to 65535 is meant.
    table = np.asarray(table, dtype=np.uint32)
    small = table if table.max(initial=0) < 256 else (table + 128) // 257
    return Image.fromarray(small.astype(np.uint8).T[indices.astype(np.intp)])


def _make_lab(values: NDArray[np.generic], layout: Layout, notes: list[str]) -> Image.Image:
    if layout.bits not in {8, 16} or layout.alpha or layout.kind == "float":
        raise ImageError(f"is a {layout.name} in Lab, which is not decoded: {ADVICE}")
    unsigned = values.view(f"u{layout.bits // 8}")
    shift = 0 if layout.photometric == ICCLAB else 1 << (layout.bits - 1)
    # CIELab stores a and b as signed numbers, ICC Lab from 0: the highest bit makes the difference.
    lab = np.dstack([unsigned[..., 0], unsigned[..., 1] ^ shift, unsigned[..., 2] ^ shift])
    if layout.bits == 16:
        notes.append(EIGHT_BIT)
        light = (lab[..., :1].astype(np.float64) / 257).round()
        lab = np.dstack([light, (lab[..., 1:].astype(np.float64) / 256).round().clip(0, 255)])
    # Pillow takes the bytes of a picture in Lab as signed.
    signed = lab.astype(np.uint8) ^ np.array([0, 128, 128], dtype=np.uint8)
    return Image.frombytes("LAB", (lab.shape[1], lab.shape[0]), signed.tobytes())
