"""Bytes of a picture file to upright 8-bit sRGB, by the reader that fits what the file holds.

A camera's raw is told first, because most of them open as a TIFF of their thumbnail; then TIFF, whose pictures and
layouts are many; all else is Pillow's.
"""

import importlib.util
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache

from PIL import Image, UnidentifiedImageError

from imgaudit.exceptions import ImageError
from imgaudit.io.colour import invert_inks, to_rgb
from imgaudit.io.declared_colour import find_declared_space
from imgaudit.io.formats.camera_raw import NOTE as RAW_NOTE
from imgaudit.io.formats.camera_raw import develop_raw, find_raw_format
from imgaudit.io.formats.jpeg import JpegStructure, find_film, read_jpeg_structure
from imgaudit.io.formats.signatures import HEIC_BRANDS, explain_no_picture, name_format
from imgaudit.io.formats.tiff import SIGNATURES as TIFF_SIGNATURES
from imgaudit.io.formats.tiff_reading import open_metadata, read_tiff
from imgaudit.io.formats.tiff_samples import EIGHT_BIT, check_reduced

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM", "JPEG2000", "TGA", "QOI")
"""Formats that are decoded, by content and not by name; HEIF joins them when pillow-heif is installed."""

MAX_PIXELS = 64_000_000
"""Images that declare more pixels are refused before anything is decoded (decompression bombs)."""

MAX_SCANS = 100
"""Progressive JPEGs with more scans are refused: each scan costs a pass over all pixels, however few bytes it has."""

MAX_EXIF_BYTES = 1024 * 1024
"""Larger EXIF blocks are not parsed: every number in them would become an object."""

LARGE_PIXELS = 16_000_000
"""Images with more pixels are decoded one at a time, however many threads read: each can take a gigabyte."""

LARGE_BYTES = 48_000_000
"""TIFFs and camera raws of more bytes are decoded one at a time too."""

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that brings an image upright, by its EXIF orientation."""

_large = threading.Lock()


@dataclass(frozen=True)
class DecodedPicture:
    """Pixels of a file, and the view of it in which its metadata stands."""

    pixels: Image.Image
    """RGB, 8 bit, upright, in sRGB, alpha flattened on white."""
    metadata: Image.Image
    """The file as Pillow opened it, for its metadata only."""
    notes: list[str]
    """Choices and changes made in reading, in words."""


@cache
def find_formats() -> tuple[str, ...]:
    """Return the names of the formats that Pillow decodes here."""
    Image.init()
    known = tuple(name for name in FORMATS if name in Image.OPEN)
    if importlib.util.find_spec("pillow_heif") is None:
        return known
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*known, "HEIF")


@contextmanager
def decode_picture(data: bytes) -> Iterator[DecodedPicture]:
    """Decode a file; its metadata can be read as long as the context lasts.

    Raises ImageError, UnidentifiedImageError, and whatever else Pillow raises on damaged files.
    """
    if name := find_raw_format(data):
        with _large if len(data) > LARGE_BYTES else nullcontext():
            pixels = develop_raw(data, name, MAX_PIXELS)
        yield DecodedPicture(pixels, _find_metadata(data), [RAW_NOTE])
    elif data.startswith(TIFF_SIGNATURES):
        yield _decode_tiff(data)
    else:
        with Image.open(io.BytesIO(data), formats=find_formats()) as opened:
            large = opened.width * opened.height > LARGE_PIXELS
            with _large if large else nullcontext():
                yield _decode_opened(opened, data)


def _find_metadata(data: bytes) -> Image.Image:
    opened = open_metadata(data) if data.startswith(TIFF_SIGNATURES) else None
    return opened or Image.new("L", (1, 1))


def _decode_tiff(data: bytes) -> DecodedPicture:
    metadata = _find_metadata(data)
    with _large if len(data) > LARGE_BYTES else nullcontext():
        tiff = read_tiff(data, MAX_PIXELS)
        notes = list(tiff.notes)
        declared = find_declared_space(metadata, data, notes)
        pixels = to_rgb(_orient(tiff.pixels, tiff.orientation, notes), notes, declared)
    return DecodedPicture(pixels, metadata, notes)


def _decode_opened(opened: Image.Image, data: bytes) -> DecodedPicture:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"declares {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")
    jpeg = read_jpeg_structure(data) if opened.format in {"JPEG", "MPO"} else None
    if jpeg is not None and jpeg.scans > MAX_SCANS:
        raise ImageError(f"has {jpeg.scans} JPEG scans; at most {MAX_SCANS} are decoded")
    notes = _note_frames(data, jpeg)
    declared = find_declared_space(opened, data, notes)
    opened.load()
    if EIGHT_BIT in notes and opened.mode in {"RGB", "RGBA", "LA"}:
        check_reduced(opened, notes, rounded=opened.format == "PPM")
    if len(opened.info.get("exif") or b"") > MAX_EXIF_BYTES:
        del opened.info["exif"]
        notes.append("EXIF too large, ignored")
    pixels = invert_inks(opened) if jpeg is not None and jpeg.inks_upright and opened.mode == "CMYK" else opened
    orientation = opened.getexif().get(0x0112, 1)
    upright = _orient(pixels, orientation if isinstance(orientation, int) else 1, notes)
    return DecodedPicture(to_rgb(upright, notes, declared), opened, notes)


def _note_frames(data: bytes, jpeg: JpegStructure | None) -> list[str]:
    """Note what else than the picture that is read a file holds: frames, gain maps, a film."""
    notes = []
    if jpeg is not None:
        if jpeg.gain_map:
            notes.append("gain map for HDR screens ignored")
        if find_film(data, jpeg.end):
            notes.append("film behind the picture ignored")
    try:
        # Opened apart, so that damage to other frames harms nothing.
        with Image.open(io.BytesIO(data), formats=find_formats()) as image:
            frames = getattr(image, "n_frames", 1)
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        return [*notes, "first frame; those after it are damaged"]
    if frames > 1 and image.format != "HEIF":
        pictures = "pictures; the others are previews, maps or other views" if jpeg is not None else "frames"
        notes.append(f"first of {frames} {pictures}")
    return notes


def _orient(image: Image.Image, orientation: int, notes: list[str]) -> Image.Image:
    # Not ImageOps.exif_transpose: it writes the whole EXIF block anew, and fails where any other field is odd.
    if orientation not in TRANSPOSITIONS:
        return image
    notes.append("orientation from EXIF applied")
    turned = image.transpose(TRANSPOSITIONS[orientation])
    turned.info = image.info
    return turned


def explain_refusal(data: bytes, error: Exception) -> str:
    """Return why a file is refused, completing the sentence "the file ...", from what its decoding raised."""
    if isinstance(error, UnidentifiedImageError):
        if data[4:12] in HEIC_BRANDS and "HEIF" not in find_formats():
            return "is not an image that can be decoded: HEIC is read after `pip install imgaudit[heif]`"
        if name := name_format(data):
            return f"is {name}, which is not an image that can be decoded: export it as PNG, TIFF or JPEG"
        if data.startswith(b"\xff\xd8\xff") and (jpeg := read_jpeg_structure(data)).bits:
            return f"is a JPEG of a kind that is not decoded ({jpeg.kind}): export it as an ordinary JPEG"
        return explain_no_picture(data) or f"is not an image that can be decoded ({', '.join(find_formats())})"
    if isinstance(error, Image.DecompressionBombError):
        # Pillow calls it an attack; a large scan is none.
        return f"declares more pixels than are decoded; at most {MAX_PIXELS:,} are: export it smaller"
    if isinstance(error, MemoryError):
        return "needs more memory to decode than there is"
    # Pillow's parsers raise almost anything on damaged files; each of these means "this file", not "this program".
    told = f"{error}" if isinstance(error, OSError | SyntaxError) else f"{type(error).__name__}: {error}"
    return f"is damaged or truncated: {told or 'its decoder says no more'}"[:500]
