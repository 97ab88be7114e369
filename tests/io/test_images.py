import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from imgaudit.exceptions import ImageError
from imgaudit.io import decoding
from imgaudit.io.images import decode_image, load_image
from tests.conftest import random_image


def png_bytes(width: int, height: int) -> bytes:
    """A PNG that declares any size without holding it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match=r"declares (60000 x 60000|more) pixels"):
        decode_image(png_bytes(60_000, 60_000))


def test_damaged_files_say_why(tmp_path: Path) -> None:
    empty, text, cut = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"
    empty.touch()
    text.write_text("hello")
    random_image(1, (200, 200)).save(cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    for path, reason in ((empty, "empty"), (text, "not an image"), (cut, "damaged or truncated")):
        with pytest.raises(ImageError, match=reason):
            load_image(path)
    with pytest.raises(ImageError, match="cannot be opened"):
        load_image(tmp_path / "missing.png")


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        load_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 64).reshape(8, 8)
    if mode == "I;16":
        image = Image.fromarray((grey * 257).astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray((grey / 255).astype(np.float32))
    else:
        image = Image.fromarray(grey.astype(np.uint8)).convert(mode)
    path = tmp_path / ("x.png" if mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else "x.tiff")
    image.save(path)
    loaded = load_image(path)
    assert loaded.pixels.mode == "RGB" and loaded.pixels.size == (8, 8)
    first, last = loaded.pixels.getpixel((0, 0)), loaded.pixels.getpixel((7, 7))
    assert first == pytest.approx((0, 0, 0), abs=3) and last == pytest.approx((255, 255, 255), abs=3)


def test_numbers_without_a_white_are_refused(tmp_path: Path) -> None:
    """Scaling by the largest number would make one highlight blacken a picture, and a count of photons white."""
    grey = np.linspace(0, 255, 64).reshape(8, 8)
    reasons = {np.int32: "which number is white", np.float32: "outside 0 to 1", np.uint16: "lowest 8 of its 16 bits"}
    for kind, reason in reasons.items():
        Image.fromarray(grey.astype(kind)).save(tmp_path / "a.tif")
        with pytest.raises(ImageError, match=reason):
            load_image(tmp_path / "a.tif")


def test_one_highlight_does_not_blacken_a_picture(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    values[3, 3] = 50.0
    Image.fromarray(values).save(tmp_path / "a.tif")
    loaded = load_image(tmp_path / "a.tif")
    assert loaded.pixels.getpixel((10, 10)) == (134, 134, 134) and loaded.pixels.getpixel((3, 3)) == (255, 255, 255)
    assert {"floating point outside 0 to 1 clipped", "reduced to 8 bit"} <= set(loaded.notes)


def test_orientation_alpha_frames_and_profiles_are_applied_and_noted(tmp_path: Path) -> None:
    image = random_image(1, (10, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    turned = load_image(tmp_path / "turned.jpg")
    assert turned.pixels.size == (4, 10) and "orientation from EXIF applied" in turned.notes

    clear_image = Image.new("RGBA", (3, 3), (0, 0, 0, 0))
    clear_image.putpixel((2, 2), (0, 0, 0, 255))
    clear_image.save(tmp_path / "clear.png")
    clear = load_image(tmp_path / "clear.png")
    assert clear.pixels.getpixel((0, 0)) == (255, 255, 255) and "alpha flattened on white" in clear.notes

    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].putpixel((3, 3), (0, 255, 0))
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    moving = load_image(tmp_path / "moving.gif")
    assert moving.pixels.getpixel((0, 0)) == (255, 0, 0) and "first of 2 frames" in moving.notes

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "managed.png", icc_profile=profile)
    assert "colour profile converted to sRGB" in load_image(tmp_path / "managed.png").notes
    image.save(tmp_path / "broken.png", icc_profile=b"not a profile")
    assert "colour profile unreadable, taken as sRGB" in load_image(tmp_path / "broken.png").notes


def test_nothing_of_the_metadata_survives(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret"
    random_image(1).save(tmp_path / "a.jpg", exif=exif, comment=b"secret")
    pixels = load_image(tmp_path / "a.jpg").pixels
    assert pixels.info == {}
    pixels.save(tmp_path / "b.png")
    assert b"secret" not in (tmp_path / "b.png").read_bytes()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), value=st.integers(0, 255), kept=st.floats(0.02, 1), kind=st.sampled_from(range(6)))
def test_a_damaged_file_is_an_image_or_an_image_error(position: float, value: int, kept: float, kind: int) -> None:
    formats = ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]
    buffer = io.BytesIO()
    random_image(kind).save(buffer, format=formats[kind])
    data = bytearray(buffer.getvalue())
    data[int(position * (len(data) - 1))] = value
    try:
        loaded = decode_image(bytes(data[: max(1, int(kept * len(data)))]))
    except ImageError as error:
        assert str(error)
    else:
        assert loaded.pixels.mode == "RGB"


def test_heic_is_read_where_it_can_be_and_named_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(random_image(3, (40, 30))).save(buffer, quality=95)
    loaded = decode_image(buffer.getvalue())
    assert loaded.pixels.size == (40, 30)
    difference = np.asarray(loaded.pixels, dtype=float) - np.asarray(random_image(3, (40, 30)), dtype=float)
    assert float(np.sqrt((difference**2).mean())) < 20
    monkeypatch.setattr(decoding, "find_formats", lambda: decoding.FORMATS)
    with pytest.raises(ImageError, match=r"pip install imgaudit\[heif\]"):
        decode_image(buffer.getvalue())


def test_only_formats_of_the_list_are_decoded_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file closefile\nshowpage\n"
    )
    with pytest.raises(ImageError, match="is not an image that can be decoded"):
        load_image(tmp_path / "a.png")
    assert not {"EPS", "WMF", "FITS", "MPEG", "PSD"} & set(decoding.find_formats())


def test_colours_behind_alpha_are_managed_too(tmp_path: Path) -> None:
    red = Image.new("RGBA", (8, 8), (200, 30, 30, 255))
    red.putpixel((0, 0), (0, 0, 0, 0))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red.save(tmp_path / "a.png", icc_profile=lab)
    loaded = load_image(tmp_path / "a.png")
    assert {"colour profile converted to sRGB", "alpha flattened on white"} <= set(loaded.notes)
    assert loaded.pixels.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.pixels.getpixel((5, 5)) == pytest.approx((200, 30, 30), abs=2)


def test_a_plain_picture_is_refused_because_nothing_could_recognise_it(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), (1, 2, 3)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="single colour"):
        load_image(tmp_path / "a.png")
