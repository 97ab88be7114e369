"""Pictures of a run: read as untrusted files, and with the regions that do not agree faded."""

import io

from PIL import Image

from imgaudit.exceptions import InputError
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import MAX_PNG_BYTES, decode_png
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.pairs import Region

FADE = 0.75
"""Share of white that is blended into everything outside a region."""


def read_picture(run: RunFolder, path: str) -> tuple[bytes, Image.Image]:
    """Return a PNG of the run as its bytes and as an RGB image.

    path:  relative to the run folder
    Raises InputError when the file is missing, damaged, too large, outside the run folder, or reached through a link.
    """
    root = run.path.resolve()
    if (run.path / path).resolve() != root / path:
        raise InputError("leads out of the run folder, or through a link")
    content = read_bounded(run.path / path, MAX_PNG_BYTES, follow_links=False)
    return content, decode_png(content)


def png_bytes(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG without metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def fade_outside(picture: Image.Image, region: Region) -> Image.Image:
    """Return an RGB picture of the same size with everything outside the region faded.

    Nothing is drawn over the evidence; an empty region leaves the picture unchanged.
    """
    if not region.area:
        return picture
    mask = Image.fromarray(region.mask()).convert("L").resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(picture, Image.blend(picture, Image.new("RGB", picture.size, "white"), FADE), mask)
