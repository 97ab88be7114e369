"""Images as the model meets them: framed, as tensors and back. Files are read in `io.images`.

Tensors are float32 in [-1, 1], channels first, as diffusers' VAEs take them.
"""

import io
import math
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image

from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Frame

ORIGINAL_SIDE = 2048
"""Longest side, in pixels, of the copy of the owner's picture that a run keeps; larger pictures are scaled down."""


def find_frame(width: int, height: int, framing: Framing) -> Frame:
    """Return the part of an image of this size that is examined under a framing.

    >>> frame = find_frame(400, 300, Framing.CROP_OR_PAD)
    >>> frame.framing.value, (frame.left, frame.top, frame.right, frame.bottom), frame.share
    ('crop', (50, 0, 350, 300), 0.75)
    """
    used = framing.used_for(width, height)
    side = min(width, height)
    left, top = ((width - side) // 2, (height - side) // 2) if used is Framing.CROP else (0, 0)
    right, bottom = (left + side, top + side) if used is Framing.CROP else (width, height)
    share = (right - left) * (bottom - top) / (width * height)
    return Frame(framing=used, left=left, top=top, right=right, bottom=bottom, share=share)


def find_kept_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of the copy of a picture that a run keeps.

    >>> find_kept_size(4096, 100), find_kept_size(400, 300)
    ((2048, 50), (400, 300))
    """
    longest = max(width, height)
    if longest <= ORIGINAL_SIDE:
        return width, height
    return max(1, round(width * ORIGINAL_SIDE / longest)), max(1, round(height * ORIGINAL_SIDE / longest))


def copy_original(image: Image.Image) -> Image.Image:
    """Return an RGB image at its own size, scaled down where a side is longer than 2,048 pixels.

    >>> copy_original(Image.new("RGB", (4096, 100))).size
    (2048, 50)
    """
    size = find_kept_size(*image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def frame_image(image: Image.Image, resolution: int, framing: Framing) -> Image.Image:
    """Bring an RGB image to `resolution` x `resolution` in the way `framing` says.

    crop         the largest centred square
    pad          the whole image, centred on a white square
    squash       the whole image, its aspect ratio changed
    crop-or-pad  crop, or pad where a crop would lose more than a quarter of the picture

    Target and replica must be framed alike, or similarity means nothing; the framing is part of the protocol.
    """
    width, height = image.size
    size = (resolution, resolution)
    frame = find_frame(width, height, framing)
    if frame.framing is Framing.SQUASH or width == height:
        return image.resize(size, Image.Resampling.LANCZOS)
    if frame.framing is Framing.CROP:
        box = (frame.left, frame.top, frame.right, frame.bottom)
        return image.resize(size, Image.Resampling.LANCZOS, box=box)
    scale = resolution / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", size, (255, 255, 255))
    small = image.resize(inner, Image.Resampling.LANCZOS)
    canvas.paste(small, ((resolution - inner[0]) // 2, (resolution - inner[1]) // 2))
    return canvas


def is_single_colour(image: Image.Image) -> bool:
    """Return whether every pixel of an RGB image is the same: no copy of it can be told from other plain pictures.

    >>> is_single_colour(Image.new("RGB", (2, 2), (1, 2, 3)))
    True
    """
    return all(low == high for low, high in image.getextrema())  # type: ignore[misc]


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Return an RGB image as a (3, H, W) float32 tensor in [-1, 1]."""
    array = np.array(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1.0


def to_image(tensor: torch.Tensor) -> Image.Image:
    """Return a (3, H, W) float tensor in [-1, 1] as an 8-bit RGB image; values outside are clipped.

    >>> to_image(to_tensor(Image.new("RGB", (2, 2), (1, 2, 3)))).getpixel((0, 0))
    (1, 2, 3)
    """
    array = ((tensor.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(array.permute(1, 2, 0).cpu().numpy())


def to_batch(images: Iterable[Image.Image], resolution: int, framing: Framing) -> torch.Tensor:
    """Frame images and stack them: (N, 3, resolution, resolution) float32 in [-1, 1]."""
    return torch.stack([to_tensor(frame_image(image, resolution, framing)) for image in images])


def measure_complexity(image: Image.Image) -> float:
    """Return the log of a lossless PNG's bytes divided by the image's pixels; higher = more detail.

    Flat images have low denoising error under any condition, so scores are judged at equal complexity
    (as in arXiv 2603.13421, which divides by compressed bytes).
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return math.log(buffer.tell() / (image.width * image.height))


def find_unusable_reason(image: torch.Tensor) -> str | None:
    """Return why a generated image cannot be scored, or None when it can.

    image: (3, H, W) in [-1, 1]. A NaN, black or constant frame comes from a failed VAE or a safety checker;
    scoring it would make a failure look like a clean result.
    """
    if not torch.isfinite(image).all():
        return "not finite"
    if float(image.max() - image.min()) < 4 / 255:
        return "black" if float(image.mean()) < -0.98 else "constant"
    return None
