"""Untrusted image files, read: the only place where bytes from outside become pixels.

An allow-list of formats (Pillow would start Ghostscript for PostScript), bounded in bytes, pixels and scans, oriented,
colour-managed to sRGB, alpha on white. What was changed is said in notes.
"""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imgaudit.exceptions import ImageError, InputError
from imgaudit.io.decoding import decode_picture, explain_refusal
from imgaudit.io.embedded_caption import read_embedded_caption
from imgaudit.io.framing import is_single_colour
from imgaudit.io.generator_marks import find_generator_mark
from imgaudit.io.reading import read_bounded
from imgaudit.schema.records import Record

MAX_BYTES = 256 * 1024 * 1024
"""Files larger than this are refused unread."""


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


def _decode(data: bytes, sha256: str) -> LoadedImage:
    with decode_picture(data) as decoded:
        made_by = find_generator_mark(decoded.metadata, data)
        embedded = read_embedded_caption(decoded.metadata)
        if is_single_colour(decoded.pixels):
            raise ImageError("is a single colour: no comparison could recognise it")
        clean = Image.frombytes("RGB", decoded.pixels.size, decoded.pixels.tobytes())
    caption = embedded.caption
    facts = ImageFacts(
        sha256=sha256,
        byte_count=len(data),
        width=clean.width,
        height=clean.height,
        notes=tuple(dict.fromkeys([*decoded.notes, *embedded.notes])),
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
    except Exception as error:
        raise ImageError(explain_refusal(data, error)) from error


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
