"""Reading strangers' images, and the one conversion between files and tensors.

Every image enters imgaudit here and only here: bounded, oriented, colour-managed to sRGB, alpha on white.
Tensors are float32 in [-1, 1], channels first, as diffusers' VAEs take them.
"""

import hashlib
import io
import math
import os
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from imgaudit.exceptions import ImageError, InputError
from imgaudit.protocol import Framing

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm"})
"""File names with these endings are taken as images when a folder is listed."""

MAX_PIXELS = 64_000_000
"""Images that declare more pixels are refused before anything is decoded (decompression bombs)."""

MAX_BYTES = 256 * 1024 * 1024
"""Files larger than this are refused unread."""


GENERATORS = ("stable diffusion", "midjourney", "dall-e", "dall\u00b7e", "firefly", "comfyui", "invokeai", "novelai",
              "automatic1111", "diffusers", "flux.1", "imagen")  # fmt: skip
"""Names in a file's software field or description that say a model made the image."""


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image and what was done to it."""

    pixels: Image.Image
    """RGB, 8 bit, oriented as EXIF says, in sRGB, alpha flattened on white; carries no metadata."""
    sha256: str
    """SHA-256 of the file's bytes, hexadecimal."""
    byte_count: int
    """Size of the file."""
    notes: tuple[str, ...]
    """What reading changed, in words ("alpha flattened on white"), for the record."""
    made_by: str = ""
    """What in the file says that an image generator made it; empty when nothing does."""

    @property
    def id(self) -> str:
        """The name the image has inside a run: the first 16 hex digits of its SHA-256."""
        return self.sha256[:16]


def find_images(folder: Path) -> list[Path]:
    """All files with an image suffix below `folder`, sorted by path; hidden entries and links are left out.

    Raises InputError when `folder` is not a folder. Whether each file can be read is found out later, one by one.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of images, but {str(folder)!r} is not a folder")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(
            path
            for name in sorted(names)
            if not name.startswith(".")
            and (path := Path(parent, name)).suffix.lower() in IMAGE_SUFFIXES
            and not path.is_symlink()
        )
    return sorted(found)


def _bounded_bytes(path: Path) -> bytes:
    try:
        # Opening a FIFO for reading would block for ever; O_NONBLOCK lets fstat refuse it instead.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is not a regular file")
        if status.st_size == 0:
            raise ImageError("is empty (0 bytes)")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
        try:
            return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}") from error


def _to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "L", "CMYK"}:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("colour profile unreadable, taken as sRGB")
        return image
    notes.append("colour profile converted to sRGB")
    return converted if converted is not None else image


def _sixteen_to_eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    bright = float(np.nanmax(values, initial=0))
    sixteen = 65535.0 if bright > 255 else 255.0
    top = max(1.0, bright) if image.mode == "F" else sixteen
    notes.append("reduced to 8 bit")
    return Image.fromarray(np.nan_to_num(np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))


def _flatten(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _sixteen_to_eight_bit(image, notes)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"}:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        if min(rgba.getchannel("A").tobytes()) < 255:
            notes.append("alpha flattened on white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _generator_mark(image: Image.Image, data: bytes) -> str:
    """Traces that image generators leave: text chunks, EXIF software, IPTC's digital source type, C2PA manifests."""
    keys = [key for key in ("parameters", "workflow", "prompt", "sd-metadata", "Dream") if key in image.info]
    if keys:
        return f"metadata {keys[0]!r}"
    exif = image.getexif()
    software = " ".join(str(exif.get(tag, "")) for tag in (0x0131, 0x010E)) + str(image.info.get("Software", ""))
    named = next((name for name in GENERATORS if name in software.lower()), None)
    if named is not None:
        return f"software {named!r}"
    return "IPTC digital source type" if b"trainedAlgorithmicMedia" in data else ""


def decode_image(data: bytes) -> LoadedImage:
    """Decode untrusted bytes; same rules and errors as :func:`load_image`."""
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            # Pillow warns about bombs and odd metadata; our own limit below decides, before decoding.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise ImageError(f"declares {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")
                if getattr(opened, "n_frames", 1) > 1:
                    notes.append(f"first of {opened.n_frames} frames")  # type: ignore[attr-defined]
                opened.load()
                made_by = _generator_mark(opened, data)
                oriented = ImageOps.exif_transpose(opened)
                if oriented.size != opened.size or opened.getexif().get(0x0112, 1) != 1:
                    notes.append("orientation from EXIF applied")
                rgb = _flatten(_to_srgb(oriented, notes), notes)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("is not an image that can be decoded") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"is refused as a decompression bomb: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
            MemoryError, RuntimeError, ZeroDivisionError, AttributeError) as error:  # fmt: skip
        # Pillow's parsers raise almost anything on damaged files; each of these means "this file", not "this program".
        raise ImageError(f"is damaged or truncated: {type(error).__name__}: {error}") from error
    clean = Image.frombytes("RGB", rgb.size, rgb.tobytes())
    return LoadedImage(clean, hashlib.sha256(data).hexdigest(), len(data), tuple(notes), made_by)


def load_image(path: Path) -> LoadedImage:
    """Read one image file that may be hostile.

    Only the first frame of animations is taken. 16-bit and float images are reduced to 8 bit.
    Raises ImageError, whose message completes the sentence "the file ..." and gives the reason.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "red.png")
    >>> Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(file)
    >>> load_image(file).notes
    ('alpha flattened on white',)
    """
    return decode_image(_bounded_bytes(path))


def frame_image(image: Image.Image, resolution: int, framing: Framing) -> Image.Image:
    """Bring an RGB image to `resolution` x `resolution` in the way `framing` says.

    crop    the largest centred square
    pad     the whole image, centred on a white square
    squash  the whole image, its aspect ratio changed

    Target and replica must be framed alike, or similarity means nothing; the framing is part of the protocol.
    """
    width, height = image.size
    size = (resolution, resolution)
    if framing is Framing.SQUASH or width == height:
        return image.resize(size, Image.Resampling.LANCZOS)
    if framing is Framing.CROP:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    scale = resolution / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", size, (255, 255, 255))
    small = image.resize(inner, Image.Resampling.LANCZOS)
    canvas.paste(small, ((resolution - inner[0]) // 2, (resolution - inner[1]) // 2))
    return canvas


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB image to a (3, H, W) float32 tensor in [-1, 1]."""
    array = np.array(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1.0


def to_image(tensor: torch.Tensor) -> Image.Image:
    """(3, H, W) float tensor in [-1, 1] to an 8-bit RGB image; values outside are clipped.

    >>> to_image(to_tensor(Image.new("RGB", (2, 2), (1, 2, 3)))).getpixel((0, 0))
    (1, 2, 3)
    """
    array = ((tensor.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(array.permute(1, 2, 0).cpu().numpy())


def to_batch(images: Iterable[Image.Image], resolution: int, framing: Framing) -> torch.Tensor:
    """Frame images and stack them: (N, 3, resolution, resolution) float32 in [-1, 1]."""
    return torch.stack([to_tensor(frame_image(image, resolution, framing)) for image in images])


def complexity(image: Image.Image) -> float:
    """log of the bytes a lossless PNG of the image takes, divided by its pixels; higher = more detail.

    Flat images have low denoising error under any condition, so scores are judged at equal complexity
    (as in arXiv 2603.13421, which divides by compressed bytes).
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return math.log(buffer.tell() / (image.width * image.height))


def unusable_reason(image: torch.Tensor) -> str | None:
    """Why a generated image cannot be scored, or None when it can.

    image: (3, H, W) in [-1, 1]. A NaN, black or constant frame comes from a failed VAE or a safety checker;
    scoring it would make a failure look like a clean result.
    """
    if not torch.isfinite(image).all():
        return "not finite"
    if float(image.max() - image.min()) < 4 / 255:
        return "black" if float(image.mean()) < -0.98 else "constant"
    return None
