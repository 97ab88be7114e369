"""Untrusted image files, read: the only place where bytes from outside become pixels.

An allow-list of formats (Pillow would start Ghostscript for PostScript), bounded in bytes, pixels and scans, oriented,
colour-managed to sRGB, alpha on white. What was changed is said in notes.
"""

import hashlib
import importlib.util
import io
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from imgaudit.exceptions import ImageError, InputError
from imgaudit.io.colour import refuse_high_dynamic_range, to_rgb
from imgaudit.io.embedded_caption import read_embedded_caption
from imgaudit.io.formats.jpeg import read_jpeg_structure
from imgaudit.io.framing import is_single_colour
from imgaudit.io.generator_marks import find_generator_mark
from imgaudit.io.reading import read_bounded
from imgaudit.schema.records import Record

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM", "JPEG2000", "TGA", "QOI")
"""Formats that are decoded, by content and not by name; HEIF joins them when pillow-heif is installed."""

MAX_PIXELS = 64_000_000
"""Images that declare more pixels are refused before anything is decoded (decompression bombs)."""

MAX_BYTES = 256 * 1024 * 1024
"""Files larger than this are refused unread."""

MAX_SCANS = 100
"""Progressive JPEGs with more scans are refused: each scan costs a pass over all pixels, however few bytes it has."""

MAX_EXIF_BYTES = 1024 * 1024
"""Larger EXIF blocks are not parsed: every number in them would become an object."""

LARGE_PIXELS = 16_000_000
"""Images with more pixels are decoded one at a time, however many threads read: each can take a gigabyte."""

_large = threading.Lock()

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


class ImageFacts(Record):
    """Properties of an image file, known without holding its pixels."""

    sha256: str
    """SHA-256 of the file's bytes, hexadecimal."""
    byte_count: int
    """Size of the file."""
    width: int
    """Pixels, after orientation."""
    height: int
    """Pixels, after orientation."""
    notes: tuple[str, ...]
    """Changes made in reading, in words ("alpha flattened on white"), for the record."""
    made_by: str = ""
    """Sign in the file that an image generator made it; empty when there is none."""
    caption: str = ""
    """Caption in the file's own metadata (IPTC, XMP, EXIF, PNG text), as it stands there."""
    caption_source: str = ""
    """Part of the metadata that the caption comes from."""

    @property
    def id(self) -> str:
        """The name the image has inside a run: the first 16 hex digits of its SHA-256."""
        return self.sha256[:16]


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image and what is known of its file."""

    pixels: Image.Image
    """RGB, 8 bit, oriented as EXIF says, in sRGB, alpha flattened on white; carries no metadata."""
    facts: ImageFacts
    """The rest."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, hexadecimal."""
        return self.facts.sha256

    @property
    def notes(self) -> tuple[str, ...]:
        """Changes made in reading, in words."""
        return self.facts.notes


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    known = tuple(name for name in FORMATS if name in Image.OPEN)
    if importlib.util.find_spec("pillow_heif") is None:
        return known
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*known, "HEIF")


def _check_bounds(image: Image.Image, data: bytes) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"declares {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")
    if image.format in {"JPEG", "MPO"} and (scans := read_jpeg_structure(data).scans) > MAX_SCANS:
        raise ImageError(f"has {scans} JPEG scans; at most {MAX_SCANS} are decoded")


def _note_frames(data: bytes) -> list[str]:
    """Note whether there are more frames than the one that is read; opened apart, so their damage harms nothing."""
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            if image.format != "TIFF":
                frames = getattr(image, "n_frames", 1)
                return [f"first of {frames} frames"] if frames > 1 else []
            # Pillow counts pages in time that grows with their square.
            image.seek(1)
            return ["first of several pages"]
    except EOFError:
        return []
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        return ["first frame; those after it are damaged"]


def _orient(image: Image.Image, notes: list[str]) -> Image.Image:
    orientation = image.getexif().get(0x0112, 1)
    # Not ImageOps.exif_transpose: it writes the whole EXIF block anew, and fails where any other field is odd.
    if not isinstance(orientation, int) or orientation not in TRANSPOSITIONS:
        return image
    notes.append("orientation from EXIF applied")
    turned = image.transpose(TRANSPOSITIONS[orientation])
    turned.info = image.info
    return turned


def _decode(data: bytes, sha256: str) -> LoadedImage:
    with Image.open(io.BytesIO(data), formats=_formats()) as opened:
        _check_bounds(opened, data)
        refuse_high_dynamic_range(opened, data)
        large = opened.width * opened.height > LARGE_PIXELS
        with _large if large else nullcontext():
            return _decode_opened(opened, data, sha256)


def _decode_opened(opened: Image.Image, data: bytes, sha256: str) -> LoadedImage:
    notes = _note_frames(data)
    opened.load()
    if len(opened.info.get("exif") or b"") > MAX_EXIF_BYTES:
        del opened.info["exif"]
        notes.append("EXIF too large, ignored")
    made_by = find_generator_mark(opened, data)
    embedded = read_embedded_caption(opened)
    notes += embedded.notes
    if opened.format == "PNG" and data[24:25] == b"\x10" and opened.mode in {"RGB", "RGBA"}:
        notes.append("reduced to 8 bit")
    rgb = to_rgb(_orient(opened, notes), notes)
    if is_single_colour(rgb):
        raise ImageError("is a single colour: no comparison could recognise it")
    clean = Image.frombytes("RGB", rgb.size, rgb.tobytes())
    caption = embedded.caption
    facts = ImageFacts(
        sha256=sha256,
        byte_count=len(data),
        width=clean.width,
        height=clean.height,
        notes=tuple(notes),
        made_by=made_by,
        caption=caption.text if caption else "",
        caption_source=caption.source if caption else "",
    )
    return LoadedImage(clean, facts)


def decode_image(data: bytes) -> LoadedImage:
    """Decode untrusted bytes; same rules and errors as :func:`load_image`."""
    if not data:
        raise ImageError("is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            # Pillow warns about bombs and odd metadata; our own limits decide, before decoding.
            warnings.simplefilter("ignore")
            return _decode(data, hashlib.sha256(data).hexdigest())
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        heif = data[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"}
        hint = ": HEIC is read after `pip install imgaudit[heif]`" if heif else f" ({', '.join(_formats())})"
        raise ImageError(f"is not an image that can be decoded{hint}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"is refused as a decompression bomb: {error}") from error
    except Exception as error:
        if isinstance(error, MemoryError):
            raise ImageError("needs more memory to decode than there is") from error
        # Pillow's parsers raise almost anything on damaged files; each of these means "this file", not "this program".
        raise ImageError(f"is damaged or truncated: {type(error).__name__}: {error}"[:500]) from error


def load_image(path: Path, *, sha256: str | None = None) -> LoadedImage:
    """Read one image file that may be hostile.

    sha256:  what the file was when it was listed, if it was

    Only the first frame of animations is taken. 16-bit and float images are reduced to 8 bit.
    Raises ImageError, whose message completes the sentence "the file ..." and gives the reason: also when its content
    is not what was listed.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "red.png")
    >>> picture = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    >>> picture.putpixel((0, 0), (0, 0, 255, 255))
    >>> picture.save(file)
    >>> load_image(file).notes
    ('alpha flattened on white',)
    """
    try:
        data = read_bounded(path, MAX_BYTES, follow_links=False)
    except InputError as error:
        raise ImageError(str(error)) from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ImageError("changed after it was listed: audit it again once it stays as it is")
    return decode_image(data)
