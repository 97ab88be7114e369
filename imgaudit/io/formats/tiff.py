"""Directories of a TIFF: which of its pictures is the one it is about, and how its samples are laid out.

tifffile reads the structure, without the values of tags that are not needed.
"""

import io
import logging
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tifffile import TiffFile, TiffPage, TiffTag

from imgaudit.exceptions import ImageError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF."""

MAX_PAGES = 64
"""Directories that are looked at, those below others included."""

SENSOR = frozenset({32803, 34892})
"""Photometric interpretations of a camera's sensor: CFA and linear raw (DNG)."""

MASK_PHOTOMETRIC = 4
"""Photometric interpretation of a page that says which part of another one is shown."""

THUMBNAIL_SIDE = 256
"""A first page that is no longer than this, before pages at least twice as wide and high, is taken for a thumbnail."""

DNG_VERSION, NEW_SUBFILE, OLD_SUBFILE, SUB_IFDS = 50706, 254, 255, 330
REDUCED, MASK = 1, 4
"""Bits of NewSubfileType; DNG uses higher ones for previews, depth and semantic masks."""

NUMBER_BYTES = {3: 2, 4: 4, 16: 8}
"""Size of the types of whole numbers in which a TIFF lists offsets."""

MAX_TAG_BYTES = 16 * 1024 * 1024
"""A tag's value is read up to this size."""


@dataclass(frozen=True)
class Choice:
    """The picture that a TIFF is about."""

    page: TiffPage
    """Its directory."""
    first: TiffPage
    """The first directory, which holds what is said of the file as a whole."""
    note: str
    """Sentence about the file's other pictures; empty when there are none."""


# What tifffile says of damaged tags would stand on the terminal, in a stranger's words; the reader says it itself.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def open_tiff(data: bytes) -> TiffFile:
    """Open a TIFF without its pages. Raises ImageError where tifffile cannot."""
    try:
        return TiffFile(io.BytesIO(data))
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise ImageError(f"is damaged or truncated: {type(error).__name__}: {error}"[:300]) from error


def read_directories(tiff: TiffFile) -> tuple[list[TiffPage], list[TiffPage]]:
    """Return the directories in the file's chain and those below them, together at most `MAX_PAGES`.

    A chain or a directory that is damaged ends there.
    """
    chained, below = list[TiffPage](), list[TiffPage]()
    for index in range(MAX_PAGES):
        try:
            chained.append(tiff.pages.get(index, cache=False, aspage=True))  # type: ignore[arg-type]
        except (IndexError, ValueError, KeyError, OSError, struct.error, TypeError):
            break
    waiting = list(chained)
    while waiting and len(chained) + len(below) < MAX_PAGES:
        for offset in _sub_directories(waiting.pop(0)):
            try:
                tiff.filehandle.seek(offset)
                page = TiffPage(tiff, (0, 0))
            except (ValueError, KeyError, OSError, struct.error, TypeError):
                continue
            below.append(page)
            waiting.append(page)
            if len(chained) + len(below) >= MAX_PAGES:
                break
    if not chained:
        raise ImageError("is damaged or truncated: a TIFF without a directory that can be read")
    return chained, below


def _sub_directories(page: TiffPage) -> Iterator[int]:
    tag = page.tags.get(SUB_IFDS)
    if tag is None or tag.count > MAX_PAGES:
        return
    value = tag.value
    yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, int) and one > 0)


def read_number(page: TiffPage, code: int, otherwise: int) -> int:
    """Return the value of a tag with one number, or `otherwise`."""
    tag = page.tags.get(code)
    value = tag.value if tag is not None and tag.count == 1 else None
    return int(value) if isinstance(value, int) else otherwise


def read_bytes(page: TiffPage, code: int) -> bytes:
    """Return the value of a tag of bytes; empty when there is none, or when it is too large."""
    tag = page.tags.get(code)
    value = tag.value if tag is not None and tag.count <= MAX_TAG_BYTES else None
    return value if isinstance(value, bytes) else b""


def read_numbers(page: TiffPage, code: int) -> tuple[float, ...]:
    """Return the numbers of a tag with up to 1,000 of them; empty when there is none."""
    tag = page.tags.get(code)
    if tag is None or tag.count > 1000:
        return ()
    value = tag.value
    values = value if isinstance(value, tuple) else (value,)
    return tuple(float(one) for one in values if isinstance(one, int | float))


def is_camera_raw(pages: list[TiffPage]) -> bool:
    """Return whether any directory holds what a camera's sensor saw, or the first says that the file is a DNG."""
    return DNG_VERSION in pages[0].tags or any(_photometric(page) in SENSOR for page in pages)


def _photometric(page: TiffPage) -> int:
    return read_number(page, 262, -1)


def _is_lesser(page: TiffPage) -> bool:
    """Return whether a directory says that it is a reduced copy, a mask, a preview, or a depth map."""
    kind = read_number(page, NEW_SUBFILE, 0)
    lesser = bool(kind & (REDUCED | MASK)) or kind > 7 or read_number(page, OLD_SUBFILE, 1) == 2
    return lesser or _photometric(page) == MASK_PHOTOMETRIC


def _is_small_copy(page: TiffPage, other: TiffPage) -> bool:
    """Return whether `other` is at least twice as wide as `page`, which has its proportions or a thumbnail's size.

    Thumbnails of one fixed size have bars beside the picture.
    """
    width, height = page.imagewidth, page.imagelength
    if other.imagewidth < 2 * width or not width or not height:
        return False
    if max(width, height) <= THUMBNAIL_SIDE and other.imagelength >= 2 * height:
        return True
    return abs(other.imagelength * width - other.imagewidth * height) <= 0.02 * other.imagewidth * height


def choose_page(chained: list[TiffPage], below: list[TiffPage]) -> Choice:
    """Return the directory of the full picture: the first that does not say that it is a part of another.

    A first page that says nothing is taken for the thumbnail of a later page, or of one below it, that is at least
    twice as wide and has its proportions; a small one whatever its proportions. Raises ImageError when every directory
    says that it is a reduced copy, a mask or a map.
    """
    full = [page for page in chained if not _is_lesser(page)]
    candidates = [*full, *(page for page in below if not _is_lesser(page))]
    if not candidates:
        raise ImageError(
            "holds only pictures that say that they are reduced copies, masks or maps of another one: "
            "give the file with the full picture"
        )
    page, first = candidates[0], chained[0]
    larger = [one for one in candidates[1:] if _is_small_copy(page, one)]
    if larger:
        page = max(larger, key=lambda one: one.imagewidth)
        return Choice(page, first, "the first page is taken for a smaller copy of the page that is read")
    if page is not first:
        return Choice(page, first, "the first picture in the file is a reduced copy, and the full one is read")
    if len(full) > 1:
        some = "at least " if len(chained) + len(below) >= MAX_PAGES else ""
        return Choice(page, first, f"first of {some}{len(full)} pages; the others are not examined")
    return Choice(page, first, "")


def present_page(
    data: bytes,
    page: TiffPage,
    changes: Mapping[int, int | None] | None = None,
    parts: Mapping[int, tuple[int, int]] | None = None,
) -> bytes:
    """Return the file with `page` as its first directory, and some of its tags changed.

    changes:  a number for a tag that holds one; None hides a tag under the number before its own, which keeps the order
    parts:    start and count of the values that a tag with many keeps
    So Pillow, which reads the directories of a chain only, can read any of them. Tags that are not there stay so.
    """
    changed = bytearray(data)
    order, big = page.parent.byteorder, data[2:4] in {b"+\0", b"\0+"}
    room = 8 if big else 4
    struct.pack_into(f"{order}Q" if big else f"{order}I", changed, 8 if big else 4, page.offset)

    def write(tag: TiffTag, kind: int, count: int, field: bytes) -> None:
        entry = struct.pack(f"{order}HH{'Q' if big else 'I'}", tag.code, kind, count) + field.ljust(room, b"\0")
        changed[tag.offset : tag.offset + len(entry)] = entry

    for code, value in (changes or {}).items():
        if (tag := page.tags.get(code)) is None:
            continue
        if value is None:
            struct.pack_into(f"{order}H", changed, tag.offset, code - 1)
        else:
            short = value < 1 << 16
            write(tag, 3 if short else 4, 1, struct.pack(f"{order}{'H' if short else 'I'}", value))
    for code, (start, count) in (parts or {}).items():
        if (tag := page.tags.get(code)) is not None:
            size = NUMBER_BYTES[int(tag.dtype)]
            place = tag.valueoffset + start * size
            inside = count * size <= room
            field = (
                data[place : place + count * size] if inside else struct.pack(f"{order}{'Q' if big else 'I'}", place)
            )
            write(tag, int(tag.dtype), count, field)
    return bytes(changed)
