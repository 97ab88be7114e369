"""Colours that a file declares elsewhere than in a colour profile: EXIF, PNG's chunks, boxes of AVIF and HEIF."""

import re
from dataclasses import replace

from PIL import Image

from imgaudit.exceptions import ImageError
from imgaudit.io.colour_space import ADOBE_RGB, HIGH_DYNAMIC_RANGE, SRGB, ColourSpace, name_coding
from imgaudit.io.formats.heif import HeifStructure, read_heif_structure
from imgaudit.io.formats.jpeg2000 import read_depth, read_profile
from imgaudit.io.formats.png import PngStructure, read_png_structure, scale_transparent_grey
from imgaudit.io.formats.tiff_samples import EIGHT_BIT

EXIF_IFD, INTEROP_IFD, COLOUR_SPACE, INTEROP_INDEX = 0x8769, 0xA005, 0xA001, 0x0001
SRGB_NUMBER, ADOBE_NUMBER, UNCALIBRATED = 1, 2, 65535

UNSPECIFIED = (2, 2)
"""Primaries and transfer of H.273 that say nothing."""

UNKNOWN_EXIF = "EXIF says that the colours are not sRGB, and no profile says what they are: taken as sRGB"

_GAP = rb"(?:\s|#[^\n]{0,1000}\n){1,100}"
_PPM_HEAD = re.compile(rb"P[36]" + _GAP + rb"\d{1,9}" + _GAP + rb"\d{1,9}" + _GAP + rb"(\d{1,9})\s")
"""Head of a PPM, with its largest number."""


def find_declared_space(image: Image.Image, data: bytes, notes: list[str]) -> ColourSpace | None:
    """Return the colour space that a file declares without a profile; None for sRGB and for none.

    What was found in the file and is not followed is added to `notes`: more bits than 8, gain maps, films.
    Raises ImageError for PQ and HLG: showing them takes a choice of tone mapping that is not ours to make, and taking
    them as sRGB gives other colours.
    """
    if image.format == "PNG":
        png = read_png_structure(data)
        if png.bits > 8:
            notes.append(EIGHT_BIT)
        scale_transparent_grey(image, png.bits)
        return _find_png_space(image, png, notes)
    if image.format in {"AVIF", "HEIF"}:
        heif = read_heif_structure(data)
        _note_heif(heif, notes)
        if heif.coding not in {None, UNSPECIFIED}:
            return _find_coded_space(heif.coding, "nclx", notes)
    if image.format == "JPEG2000":
        if (bits := read_depth(data)) > 8:
            if not image.mode.startswith("I"):
                # Pillow rounds up before it cuts to 8 bits, so that the brightest values come out as 0.
                raise ImageError(f"is JPEG 2000 of {bits} bits in colour, which is not decoded: export it at 8 bits")
            notes.append(EIGHT_BIT)
        if "icc_profile" not in image.info and (profile := read_profile(data)):
            image.info["icc_profile"] = profile
    if image.format == "PPM" and (head := _PPM_HEAD.match(data)) and int(head[1]) > 255:
        notes.append(EIGHT_BIT)
    return _find_exif_space(image, notes)


def _note_heif(heif: HeifStructure, notes: list[str]) -> None:
    if heif.bits > 8:
        notes.append(f"reduced from {heif.bits} to 8 bit")
    if heif.gain_map:
        notes.append("gain map for HDR screens ignored")
    if heif.film:
        notes.append("film beside the picture ignored")
    if heif.pictures > 1:
        notes.append(f"primary of {heif.pictures} pictures; the others are not examined")


def _find_coded_space(coding: tuple[int, int] | None, source: str, notes: list[str]) -> ColourSpace | None:
    if coding is None:
        return None
    if coding[1] in HIGH_DYNAMIC_RANGE:
        raise ImageError(f"is high dynamic range ({HIGH_DYNAMIC_RANGE[coding[1]]}): export it as sRGB")
    space = name_coding(coding, source)
    if space is None:
        notes.append(f"colours declared as H.273 {coding[0]}/{coding[1]} ({source}), not known: taken as sRGB")
        return None
    return space


def _find_png_space(image: Image.Image, png: PngStructure, notes: list[str]) -> ColourSpace | None:
    """PNG's third edition: cICP goes before iCCP, that before sRGB, that before gAMA and cHRM; EXIF comes last."""
    coded = _find_coded_space(png.coding, "cICP", notes)
    if coded is not None:
        return replace(coded, overrules_profile=True)
    if png.profile or png.srgb:
        return None
    if png.gamma is None and png.primaries is None:
        return _find_exif_space(image, notes)
    gamma = 1 / png.gamma if png.gamma else 0.0
    return ColourSpace("gAMA and cHRM of the PNG", png.primaries or SRGB, gamma)


def _find_exif_space(image: Image.Image, notes: list[str]) -> ColourSpace | None:
    try:
        exif = image.getexif()
        inner = exif.get_ifd(EXIF_IFD)
        number = inner.get(COLOUR_SPACE)
        index = exif.get_ifd(INTEROP_IFD).get(INTEROP_INDEX) if number != SRGB_NUMBER else None
    except Exception:
        # Pillow's parser raises almost anything on damaged EXIF, which says nothing then.
        return None
    text = index.decode("latin-1") if isinstance(index, bytes) else str(index or "")
    if text.strip("\0 ").upper() == "R03":
        return replace(ADOBE_RGB, name="Adobe RGB (EXIF's R03)")
    if number == ADOBE_NUMBER:
        return replace(ADOBE_RGB, name="Adobe RGB (EXIF's colour space 2)")
    if number == UNCALIBRATED and not image.info.get("icc_profile"):
        notes.append(UNKNOWN_EXIF)
    return None
