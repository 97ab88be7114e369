"""Colours of a decoded image to 8-bit sRGB on white: depth, profiles, alpha; what was done is said in notes."""

import io
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from imgaudit.exceptions import ImageError

MAX_PROFILE_BYTES = 16 * 1024 * 1024
"""Larger colour profiles are not opened."""

HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}
"""Transfer characteristics (ITU-T H.273) that say nothing about how bright white is on a screen."""

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


def refuse_high_dynamic_range(image: Image.Image, data: bytes) -> None:
    """Raise ImageError for PNG, AVIF and HEIF files in a PQ or HLG transfer, however they are decoded.

    Showing them takes a choice of tone mapping that is not ours to make, and taking them as sRGB gives other colours.
    """
    transfer = 0
    if image.format == "PNG":
        head = data[: data.find(b"IDAT")]
        if (place := head.find(b"cICP")) >= 0 and len(head) > place + 5:
            transfer = head[place + 5]
    elif image.format in {"AVIF", "HEIF"} and (place := data.find(b"colrnclx", 0, 1 << 20)) >= 0:
        transfer = int.from_bytes(data[place + 10 : place + 12], "big")
    if transfer in HIGH_DYNAMIC_RANGE:
        raise ImageError(f"is high dynamic range ({HIGH_DYNAMIC_RANGE[transfer]}): export it as sRGB")


def _reduce_to_eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    notes.append("reduced to 8 bit")
    values = np.asarray(image)
    if image.mode == "F":
        finite = values[np.isfinite(values)]
        top = max(1.0, float(finite.max(initial=0)))
    else:
        top = 65535.0 if int(values.max(initial=0)) > 255 else 255.0
    reduced = np.empty(values.shape, dtype=np.uint8)
    # In bands of rows: as floating point the whole image would take eight times its size.
    for start in range(0, len(values), 256):
        band = np.nan_to_num(values[start : start + 256].astype(np.float64), posinf=top)
        reduced[start : start + 256] = (np.clip(band / top, 0, 1) * 255).round()
    return Image.fromarray(reduced)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return colours without alpha in a mode that a profile can apply to, and the alpha channel if there is one."""
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(f"mode {image.mode} has to be reduced first")
    transparent = "transparency" in image.info and image.mode in {"P", "L", "RGB", "1"}
    if image.mode in _ALPHA_MODES or transparent:
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode in {"RGB", "L", "CMYK", "LAB"}:
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _convert_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image | None:
    """Return the image in sRGB through its profile; None when the profile cannot be used."""
    srgb = ImageCms.createProfile("sRGB")
    candidates = [image] if image.mode != "L" else [image, image.convert("RGB")]
    for candidate in candidates:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(candidate, source, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            continue
        if converted is not None:
            notes.append("colour profile converted to sRGB")
            return converted
    notes.append("colour profile unreadable, taken as sRGB")
    return None


def to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Return a decoded image as RGB, 8 bit, in sRGB, alpha flattened on white; what was done is added to `notes`.

    >>> notes = []
    >>> to_rgb(Image.new("LA", (1, 1), (0, 0)), notes).getpixel((0, 0)), notes
    ((255, 255, 255), ['alpha flattened on white'])
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _reduce_to_eight_bit(image, notes)
    opaque, alpha = _split_alpha(image)
    converted = None
    if isinstance(profile, bytes) and profile:
        if len(profile) > MAX_PROFILE_BYTES:
            notes.append("colour profile too large, taken as sRGB")
        else:
            converted = _convert_profile(opaque, profile, notes)
    if converted is None and opaque.mode == "LAB":
        lab = ImageCms.profileToProfile(
            opaque, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        converted = cast(Image.Image, lab)
        notes.append("Lab converted to sRGB")
    if converted is None and opaque.mode == "CMYK":
        notes.append("CMYK without a usable profile, converted by formula")
    rgb = converted if converted is not None else opaque.convert("RGB")
    if alpha is None:
        return rgb
    if cast(tuple[float, float], alpha.getextrema())[0] < 255:
        notes.append("alpha flattened on white")
    white = Image.new("RGB", rgb.size, (255, 255, 255))
    return Image.composite(rgb, white, alpha)
