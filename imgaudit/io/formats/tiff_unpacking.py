"""Samples of a TIFF in compressions that only libtiff unpacks here (LZW, Zstandard, LZMA), in any layout.

Pillow brings libtiff, but takes a few layouts only. A compression knows nothing of layouts: so the page is shown to
Pillow as grey of 8 bits whose width is the bytes of a row, and its bytes are put together to samples afterwards.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import TiffPage

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.tiff import present_page
from imgaudit.io.formats.tiff_samples import ADVICE, BLACK_IS_ZERO, COMPRESSIONS, LZMA, LZW, ZSTANDARD, Layout

WIDTH, TILE_WIDTH = 256, 322
PLACES = (273, 279, 324, 325)
"""Tags that list where strips or tiles lie, and how long they are."""

GREY = {258: 8, 262: BLACK_IS_ZERO, 274: 1, 277: 1, 284: 1, 317: 1, 338: None, 339: 1}
"""Values of tags by which a page is grey of 8 bits, upright, and without differences."""


MAX_PLANE_BYTES = 170_000_000
"""Channels that hang together and take more are not unpacked: Pillow takes their bytes for pixels."""


def can_unpack(layout: Layout) -> bool:
    """Return whether the samples of a layout can be had in this way."""
    plain = layout.predictor == 1 or (layout.predictor == 2 and layout.kind != "float")
    whole = layout.bits in {8, 16, 32, 64} and not layout.reversed_bits
    return layout.compression in {LZW, LZMA, ZSTANDARD} and plain and whole


def unpack_samples(data: bytes, page: TiffPage, layout: Layout) -> NDArray[np.generic]:
    """Return the samples of a page (height, width, samples) that `can_unpack`.

    data:  the file's bytes
    Raises ImageError, and what Pillow raises, for what is damaged.
    """
    planes = layout.samples if layout.separate else 1
    pieces, rest = divmod(len(page.dataoffsets), planes)
    if rest or not pieces or len(page.databytecounts) != len(page.dataoffsets):
        raise ImageError("is damaged or truncated: its strips or tiles do not make up its picture")
    unpacked = [_unpack_plane(data, page, layout, number * pieces, pieces) for number in range(planes)]
    return np.concatenate(unpacked, axis=2)


def _unpack_plane(data: bytes, page: TiffPage, layout: Layout, start: int, count: int) -> NDArray[np.generic]:
    """Return the samples (height, width, samples) of `count` strips or tiles from `start` on."""
    height, width = page.imagelength, page.imagewidth
    a_pixel = (1 if layout.separate else layout.samples) * layout.bits // 8
    if height * width * a_pixel > MAX_PLANE_BYTES:
        raise ImageError(
            f"is a {layout.name} of more than {MAX_PLANE_BYTES // 1_000_000} MB in compression "
            f"{COMPRESSIONS[layout.compression]}, which is not decoded: {ADVICE}"
        )
    changes = {**GREY, WIDTH: width * a_pixel, TILE_WIDTH: page.tilewidth * a_pixel}
    parts = dict.fromkeys(PLACES, (start, count)) if layout.separate else None
    with Image.open(io.BytesIO(present_page(data, page, changes, parts)), formats=["TIFF"]) as opened:
        if opened.mode != "L" or opened.size != (width * a_pixel, height):
            raise ImageError("is damaged: two parts of it give different sizes")
        unpacked = np.array(opened)
    kind = {"uint": "u", "int": "i", "float": "f"}[layout.kind]
    stored = np.dtype(f"{page.parent.byteorder}{kind}{layout.bits // 8}")
    values = unpacked.view(stored).reshape(height, width, -1).astype(stored.newbyteorder("="), copy=False)
    return _add_up(values, page.tilewidth if page.is_tiled else width) if layout.predictor == 2 else values


def _add_up(values: NDArray[np.generic], run: int) -> NDArray[np.generic]:
    """Return samples from differences to the pixel before. They wrap around, as the numbers do.

    run:  pixels of a row that hang together: every tile begins anew
    """
    summed = np.empty_like(values)
    for start in range(0, values.shape[1], run):
        part = slice(start, start + run)
        summed[:, part] = np.cumsum(values[:, part], axis=1, dtype=values.dtype)
    return summed
