"""Thumbnails of a run's pictures: small, decoded and encoded anew, so that an index of thousands stays light."""

import io
from pathlib import Path

from PIL import Image

from imgaudit.store import write_atomically

SIDE = 96
"""Pixels of the longer side at most."""


def write_thumbnail(source: Path, destination: Path) -> bool:
    """Write a JPEG of a run's PNG; whether there was one: a picture can have been deleted, or be damaged."""
    try:
        with Image.open(source, formats=["PNG"]) as picture:
            small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88, subsampling=0)
    write_atomically(destination, buffer.getvalue(), durable=False)
    return True
