"""A camera's raw, recognised by its contents, and developed through LibRaw where the extra `raw` is installed.

Most of these files open as a TIFF whose first picture is a thumbnail, so they have to be told from TIFFs first.
"""

import importlib.util
import io

import numpy as np
from PIL import Image

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.tiff import SIGNATURES as TIFF_SIGNATURES
from imgaudit.io.formats.tiff_reading import is_camera_raw

_STARTS = {
    b"FUJIFILMCCD-RAW": "RAF", b"IIRO": "ORF", b"IIRS": "ORF", b"MMOR": "ORF", b"IIU\0": "RW2", b"FOVb": "X3F",
    b"\0MRM": "MRW", b"II\x1a\0\0\0HEAPCCDR": "CRW",
}  # fmt: skip
"""First bytes of formats of cameras that are no TIFF, and what they are called."""

NOTE = "camera raw, developed with LibRaw at the camera's white balance"


def find_raw_format(data: bytes) -> str:
    """Return the name of the camera's format that a file is in; empty when it is none.

    >>> find_raw_format(b"FUJIFILMCCD-RAW 0201"), find_raw_format(b"\\x89PNG")
    ('RAF', '')
    """
    for start, name in _STARTS.items():
        if data.startswith(start):
            return name
    if data[4:12] == b"ftypcrx ":
        return "CR3"
    if not data.startswith(TIFF_SIGNATURES):
        return ""
    if data[8:10] == b"CR":
        return "CR2"
    if data[8:12] in {b"IIII", b"MMMM"}:
        return "IIQ"
    return "DNG, NEF or the like" if is_camera_raw(data) else ""


def develop_raw(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """Return a camera's raw as an upright RGB picture of 8 bit in sRGB.

    name:  of the format, for messages
    Raises ImageError without the extra `raw`, with what to do, and where LibRaw does not read the file.
    """
    if importlib.util.find_spec("rawpy") is None:
        raise ImageError(
            f"is a camera's raw ({name}), of which only a small preview could be read: export it as JPEG or TIFF, or "
            "run `pip install imgaudit[raw]`"
        )
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            width, height = raw.sizes.raw_width, raw.sizes.raw_height
            if width * height > max_pixels:
                raise ImageError(f"declares {width} x {height} pixels; at most {max_pixels:,} are decoded")
            if raw.num_colors != 3 or not (np.any(raw.color_matrix) or np.any(raw.rgb_xyz_matrix)):
                raise ImageError(
                    f"is a camera's raw ({name}) of whose colours LibRaw knows nothing: export it as JPEG or TIFF"
                )
            # LibRaw's own curve is that of BT.709.
            return Image.fromarray(raw.postprocess(use_camera_wb=True, output_bps=8, gamma=(2.4, 12.92)))
    except rawpy.LibRawError as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ImageError(
            f"is a camera's raw ({name}) that LibRaw does not read ({reason}): export it as JPEG or TIFF"
        ) from error
