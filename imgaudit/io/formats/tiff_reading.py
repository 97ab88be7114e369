"""A TIFF, read: its full picture in 8 bits a channel, and a view of its metadata."""

import contextlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import TiffPage

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.tiff import Choice, choose_page, open_tiff, present_page, read_bytes, read_directories
from imgaudit.io.formats.tiff import is_camera_raw as has_sensor
from imgaudit.io.formats.tiff import read_number as read_tag
from imgaudit.io.formats.tiff_samples import (
    BLACK_IS_ZERO,
    EIGHT_BIT,
    FLOAT_AS_SRGB,
    RGB,
    WHITE_IS_ZERO,
    Layout,
    check_reduced,
    is_pillows,
    read_layout,
    read_samples,
    to_picture,
)
from imgaudit.io.formats.tiff_unpacking import can_unpack, unpack_samples

PROFILE, ORIENTATION = 34675, 274


@dataclass(frozen=True)
class TiffPicture:
    """The full picture of a TIFF."""

    pixels: Image.Image
    """Mode of 8 bits a channel, as it lies in the file; `info` holds the colour profile."""
    orientation: int
    """As EXIF numbers it."""
    notes: tuple[str, ...]
    """Choices and changes made in reading, in words."""


def is_camera_raw(data: bytes) -> bool:
    """Return whether a TIFF holds a camera's raw, by its directories. Damaged files hold none."""
    try:
        with open_tiff(data) as tiff:
            chained, below = read_directories(tiff)
            return has_sensor([*chained, *below])
    except ImageError:
        return False


def read_tiff(data: bytes, max_pixels: int) -> TiffPicture:
    """Read the full picture of a TIFF.

    max_pixels:  pictures with more are refused before anything is decoded
    Raises ImageError for what is damaged, and for a layout that is not decoded, with what to do.
    """
    with open_tiff(data) as tiff:
        choice = choose_page(*read_directories(tiff))
        page = choice.page
        width, height = page.imagewidth, page.imagelength
        if width * height > max_pixels:
            raise ImageError(f"declares {width} x {height} pixels; at most {max_pixels:,} are decoded")
        if not width or not height:
            raise ImageError("is damaged: a TIFF without a width or a height")
        layout = read_layout(page)
        notes = [choice.note] if choice.note else []
        pixels = _decode(data, page, layout, notes)
        pixels.info = {"icc_profile": profile} if (profile := _find_profile(choice)) else {}
        if layout.kind == "float" and not profile:
            notes.append(FLOAT_AS_SRGB)
        orientation = read_tag(page, ORIENTATION, read_tag(choice.first, ORIENTATION, 1))
        return TiffPicture(pixels, orientation, tuple(notes))


def _find_profile(choice: Choice) -> bytes:
    return read_bytes(choice.page, PROFILE) or read_bytes(choice.first, PROFILE)


def _decode(data: bytes, page: TiffPage, layout: Layout, notes: list[str]) -> Image.Image:
    if not is_pillows(layout):
        values = unpack_samples(data, page, layout) if can_unpack(layout) else read_samples(page, layout)
        return to_picture(values, page, layout, notes)
    wide = layout.bits > 8
    # Pillow turns the picture itself, and inverts "white is zero" at 8 bits and not at 16: neither is left to it.
    changes = {ORIENTATION: 1, **({262: BLACK_IS_ZERO} if wide and layout.photometric == WHITE_IS_ZERO else {})}
    with Image.open(io.BytesIO(present_page(data, page, changes)), formats=["TIFF"]) as opened:
        opened.load()
        if opened.size != (page.imagewidth, page.imagelength):
            raise ImageError("is damaged: two parts of it give different sizes")
        if wide and layout.photometric != RGB:
            return to_picture(np.asarray(opened)[..., None], page, layout, notes)
        if wide:
            notes.append(EIGHT_BIT)
            check_reduced(opened, notes)
        return opened.copy()


def open_metadata(data: bytes) -> Image.Image | None:
    """Open the first directory of a TIFF for its metadata only, whatever its samples are; None when it is damaged."""
    with contextlib.suppress(Exception), open_tiff(data) as tiff:
        page = read_directories(tiff)[0][0]
        # A layout that Pillow opens. It is never decoded.
        plain = {258: 8, 259: 1, 262: BLACK_IS_ZERO, 277: 1, 284: 1, 317: 1, 338: 0, 339: 1}
        opened = Image.open(io.BytesIO(present_page(data, page, plain)), formats=["TIFF"])
        if isinstance(opened, TiffImageFile):
            return opened
    return None
