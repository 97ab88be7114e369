"""Colours of a decoded image to 8-bit sRGB on white: depth, profiles, alpha; what was done is said in notes."""

import io
from typing import cast

import numpy as np
from PIL import Image, ImageChops, ImageCms

from imgaudit.exceptions import ImageError
from imgaudit.io.colour_space import ColourSpace, convert_to_srgb
from imgaudit.io.formats.tiff_samples import FLOAT_AS_SRGB, scale_to_eight_bit

MAX_PROFILE_BYTES = 16 * 1024 * 1024
"""Larger colour profiles are not opened."""

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


def _reduce_to_eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    values = np.asarray(image)
    # Pillow brings PGM of more than 8 bits to 16, in a mode of 32.
    if image.mode == "I" and not 0 <= int(values.min(initial=0)) <= int(values.max(initial=0)) < 1 << 16:
        raise ImageError("holds 32-bit integers, and nothing says which is white: export it as 8 or 16 bit")
    bits = 16 if image.mode.startswith("I") else 32
    reduced = Image.fromarray(scale_to_eight_bit(values, bits, notes))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        reduced.putalpha(Image.fromarray(((values != transparent) * 255).astype(np.uint8)))
    return reduced


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


def invert_inks(image: Image.Image) -> Image.Image:
    """Return a CMYK image with its inks inverted: Pillow takes every JPEG for one of Adobe's, which store them so."""
    inverted = ImageChops.invert(image)
    inverted.info = image.info
    return inverted


def _convert_declared(opaque: Image.Image, declared: ColourSpace, notes: list[str]) -> Image.Image | None:
    """Return the image in sRGB from a space that the file declares without a profile; None where nothing is to do."""
    if declared.is_srgb or opaque.mode not in {"RGB", "L"}:
        return None
    try:
        converted = convert_to_srgb(opaque.convert("RGB"), declared)
    except (ValueError, np.linalg.LinAlgError):
        notes.append(f"{declared.name} makes no colour space, taken as sRGB")
        return None
    notes.append(f"{declared.name} converted to sRGB")
    return converted


def to_rgb(image: Image.Image, notes: list[str], declared: ColourSpace | None = None) -> Image.Image:
    """Return a decoded image as RGB, 8 bit, in sRGB, alpha flattened on white; what was done is added to `notes`.

    declared:  colour space that the file declares elsewhere than in a profile

    >>> notes = []
    >>> to_rgb(Image.new("LA", (1, 1), (0, 0)), notes).getpixel((0, 0)), notes
    ((255, 255, 255), ['alpha flattened on white'])
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        if image.mode == "F" and not profile:
            notes.append(FLOAT_AS_SRGB)
        image = _reduce_to_eight_bit(image, notes)
    opaque, alpha = _split_alpha(image)
    converted = None
    if declared is not None and declared.overrules_profile:
        profile = None
    if isinstance(profile, bytes) and profile:
        if len(profile) > MAX_PROFILE_BYTES:
            notes.append("colour profile too large, taken as sRGB")
        else:
            converted = _convert_profile(opaque, profile, notes)
    if converted is None and declared is not None:
        converted = _convert_declared(opaque, declared, notes)
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
