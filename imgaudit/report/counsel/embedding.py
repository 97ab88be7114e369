"""Pictures inside a page: bounded in size, as data URIs."""

import base64
import io

from PIL import Image

from imgaudit.report.pictures import png_bytes

LONGEST = 1000
"""Longest side of an embedded picture, in pixels; on paper it is some 8 cm wide."""

SMALLEST = 256
"""Pictures below this size are enlarged by a whole factor, so that viewers and printers do not blur them."""

QUALITY = 92
"""JPEG quality of pictures that had to be made smaller; all others are kept without loss."""


def embed_picture(picture: Image.Image) -> str:
    """Return an RGB picture as a data URI: without loss, or where it is larger than 1,000 pixels, smaller and as JPEG.

    >>> embed_picture(Image.new("RGB", (2, 2)))[:22]
    'data:image/png;base64,'
    """
    longest = max(picture.size)
    if longest > LONGEST:
        size = (max(1, picture.width * LONGEST // longest), max(1, picture.height * LONGEST // longest))
        buffer = io.BytesIO()
        picture.resize(size, Image.Resampling.LANCZOS).save(buffer, format="JPEG", quality=QUALITY, subsampling=0)
        return _data_uri("jpeg", buffer.getvalue())
    factor = max(1, SMALLEST // longest)
    enlarged = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    return _data_uri("png", png_bytes(enlarged))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
