"""Colours declared without a profile: converted as the declaration says, or noted."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from imgaudit.exceptions import ImageError
from imgaudit.io.colour_space import ADOBE_RGB, ColourSpace, convert_to_srgb, name_coding
from imgaudit.io.declared_colour import UNKNOWN_EXIF
from imgaudit.io.images import LoadedImage, decode_image

SCENE = np.zeros((32, 32, 3), np.uint8)
SCENE[:, :16], SCENE[:, 16:] = (150, 190, 120), (120, 150, 200)


def jpeg(index: object = None, number: int | None = None, **options: object) -> LoadedImage:
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    if number is not None:
        inner[0xA001] = number
    if index is not None:
        inner[0xA005] = {1: index}
    exif._ifds[0x8769] = inner
    buffer = io.BytesIO()
    Image.fromarray(SCENE).save(buffer, "JPEG", quality=97, subsampling=0, exif=exif, **options)
    return decode_image(buffer.getvalue())


def png(*chunks: tuple[bytes, bytes], **options: object) -> LoadedImage:
    import zlib

    buffer = io.BytesIO()
    Image.fromarray(SCENE).save(buffer, "PNG", **options)
    data = buffer.getvalue()
    more = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return decode_image(data[:33] + more + data[33:])


def test_a_camera_that_says_r03_took_adobe_rgb() -> None:
    for loaded in (jpeg("R03", 65535), jpeg("R03\0"), jpeg(number=2)):
        assert any(note.startswith("Adobe RGB (EXIF") and "converted" in note for note in loaded.notes)
        assert np.abs(np.array(loaded.pixels.getpixel((4, 4))) - (131, 191, 117)).max() <= 4


def test_exif_counts_where_a_png_or_an_avif_says_nothing_else() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    exif[0x0131] = "a program"
    assert any(note.startswith("Adobe RGB (EXIF") for note in png(exif=exif).notes)
    assert png((b"sRGB", b"\0"), exif=exif).notes == ()
    buffer = io.BytesIO()
    Image.fromarray(SCENE).save(buffer, "AVIF", quality=100, exif=exif.tobytes())
    said = buffer.getvalue()
    assert said.count(b"nclx\0\1\0\r") == 1 and decode_image(said).notes == ()
    unspecified = decode_image(said.replace(b"nclx\0\1\0\r", b"nclx\0\2\0\2"))
    assert any(note.startswith("Adobe RGB (EXIF") for note in unspecified.notes)


def test_srgb_is_left_as_it_is_and_what_is_not_known_is_noted() -> None:
    assert jpeg("R98", 1).notes == () and jpeg().notes == ()
    assert jpeg(number=65535).notes == (UNKNOWN_EXIF,) and jpeg("R98", 65535).notes == (UNKNOWN_EXIF,)


def test_a_profile_goes_before_exif() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert jpeg("R03", 65535, icc_profile=profile).notes == ("colour profile converted to sRGB",)


def test_the_order_of_a_pngs_declarations_is_that_of_its_third_edition() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    p3, linear = (b"cICP", bytes([12, 13, 0, 1])), (b"gAMA", struct.pack(">I", 100_000))
    assert png(p3, linear, icc_profile=profile).notes == ("Display P3 (cICP) converted to sRGB",)
    assert png(linear, icc_profile=profile).notes == ("colour profile converted to sRGB",)
    assert png((b"sRGB", b"\0"), linear).notes == ()
    assert png(linear).notes == ("gAMA and cHRM of the PNG converted to sRGB",)
    assert png((b"gAMA", struct.pack(">I", 45_455))).notes == ()
    assert any("not known" in note for note in png((b"cICP", bytes([200, 13, 0, 1]))).notes)
    assert any("makes no colour space" in note for note in png((b"cHRM", bytes(32)), linear).notes)
    with pytest.raises(ImageError, match=r"high dynamic range \(HLG\)"):
        png((b"cICP", bytes([9, 18, 0, 1])))


def test_conversion_agrees_with_littlecms() -> None:
    """LittleCMS, through a profile that this test builds, as the reference."""
    from imgaudit.benchmark.robustness.hostile.profiles import ADOBE_RGB as PRIMARIES
    from imgaudit.benchmark.robustness.hostile.profiles import rgb_profile

    picture = Image.fromarray(np.random.default_rng(3).integers(30, 220, (20, 20, 3), dtype=np.uint8))
    source = ImageCms.ImageCmsProfile(io.BytesIO(rgb_profile(PRIMARIES)))
    reference = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"))
    assert reference is not None
    distance = np.abs(np.asarray(convert_to_srgb(picture, ADOBE_RGB), int) - np.asarray(reference, int))
    assert np.percentile(distance, 99) <= 3


def test_unspecified_codes_are_srgb_and_srgb_stays() -> None:
    unspecified = name_coding((2, 2), "nclx")
    assert unspecified is not None and unspecified.is_srgb
    assert not ColourSpace("linear", unspecified.chromaticities, 1.0).is_srgb
