"""Pictures that are sound but unusual: depths, colours, profiles, orientations, frames and shapes."""

import itertools
import struct
import zlib

import numpy as np
from PIL import Image, ImageChops

from imgaudit.benchmark.robustness.hostile.bytes import (
    jpeg_segment,
    png,
    png_chunk,
    png_rows,
    shorts,
    text_field,
    tiff,
    tiff_fields,
    with_jpeg_segments,
    with_png_chunks,
)
from imgaudit.benchmark.robustness.hostile.folder import SIZE, HostileFolder, Outcome, encoded
from imgaudit.benchmark.robustness.hostile.profiles import ADOBE_RGB, SRGB, cmyk_profile, grey_profile, rgb_profile

FORMATS = {
    "png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "avif": "AVIF", "tif": "TIFF",
    "ppm": "PPM",
}  # fmt: skip
"""Suffixes and what Pillow calls their formats."""

PQ, HLG, SRGB_TRANSFER = 16, 18, 13
"""Transfer functions, as H.273 numbers them."""


def put_sound(target: HostileFolder) -> None:
    """Ordinary files of every format, and files that are called after another format than theirs."""
    for suffix, form in FORMATS.items():
        target.put("sound", f"plain.{suffix}", target.encoded(form), Outcome.MEASURED)
    more = {
        "other suffix.jpeg": target.encoded("JPEG"),
        "other suffix.tiff": target.encoded("TIFF", compression="tiff_deflate"),
        "UPPER.PNG": target.encoded("PNG"),
        "Mixed.JpG": target.encoded("JPEG", progressive=True),
        "grey.jpg": target.encoded("JPEG", mode="L"),
        "grey.ppm": target.encoded("PPM", mode="L"),
        "lossless.webp": target.encoded("WEBP", lossless=True),
        "lzw.tif": target.encoded("TIFF", compression="tiff_lzw"),
        "top down.bmp": _top_down(target.picture()),
    }
    target.put_all("sound", more, Outcome.MEASURED)
    suffixes = list(FORMATS)
    for suffix, other in zip(suffixes, suffixes[1:] + suffixes[:1], strict=True):
        data = target.encoded(FORMATS[suffix])
        target.put("mislabelled", f"{suffix} called.{other}", data, Outcome.MEASURED)


def _top_down(image: Image.Image) -> bytes:
    data = bytearray(encoded(image, "BMP"))
    struct.pack_into("<i", data, 22, -image.height)
    return bytes(data)


def put_depths(target: HostileFolder) -> None:
    """Images of 1 to 32 bits a channel."""
    measured = {f"{mode} from a {form}": (mode, form) for mode, form in (("1", "PNG"), ("1", "TIFF"), ("P", "BMP"))}
    for name, (mode, form) in measured.items():
        target.put("16 bit", f"{name}.{form.lower()}", target.encoded(form, mode=mode), Outcome.MEASURED)
    for name, channels, colour in (("grey", 1, 0), ("grey alpha", 2, 4), ("RGB", 3, 2), ("RGBA", 4, 6)):
        data = png(SIZE, png_rows(_wide(target, channels).astype(">u2").tobytes(), SIZE[1]), depth=16, colour=colour)
        target.put("16 bit", f"{name}.png", data, Outcome.MEASURED)
    for name, channels in (("grey", 1), ("RGB", 3)):
        pixels = _wide(target, channels).astype("<u2").tobytes()
        target.put(
            "16 bit", f"{name}.tif", tiff(tiff_fields(SIZE, channels, 16, len(pixels)), pixels), Outcome.MEASURED
        )
    colours = b"P6 24 24 65535\n" + _wide(target, 3).astype(">u2").tobytes()
    target.put("16 bit", "RGB.ppm", colours, Outcome.MEASURED)
    # All its values lie below 256 of 65535: nearly black, or an 8-bit image in the wrong box.
    dark = png(SIZE, png_rows((_wide(target, 1) // 257).astype(">u2").tobytes(), SIZE[1]), depth=16, colour=0)
    target.put("16 bit", "dark.png", dark, Outcome.EITHER)
    whole = Image.fromarray(np.asarray(target.picture(mode="L"), dtype=np.int32) * 60_000)
    target.put("16 bit", "32 bit.tif", encoded(whole, "TIFF"), Outcome.EITHER)


def _wide(target: HostileFolder, channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    return np.asarray(target.picture(mode=modes[channels]), dtype=np.uint16) * 257


def put_inks(target: HostileFolder) -> None:
    """CMYK with and without profile, as Adobe inverts it and as others do not."""

    def jpeg(profile: bytes | None = None) -> bytes:
        return target.encoded("JPEG", mode="CMYK", icc_profile=profile)

    plain, inks = jpeg(), cmyk_profile()
    # Pillow inverts inks as Adobe does; without Adobe's marker they are stored as they are.
    upright = encoded(ImageChops.invert(target.picture(mode="CMYK")), "JPEG")
    place = (converted := jpeg()).index(b"Adobe")
    adobe = plain.index(b"\xff\xee")
    files = {
        "adobe inverted.jpg": jpeg(),
        "without adobe marker.jpg": upright[:adobe] + upright[adobe + 16 :],
        "as YCCK.jpg": converted[: place + 11] + b"\2" + converted[place + 12 :],
        "with profile.jpg": jpeg(inks),
        "with the profile of a screen.jpg": jpeg(rgb_profile()),
        "plain.tif": target.encoded("TIFF", mode="CMYK"),
        "with profile.tif": target.encoded("TIFF", mode="CMYK", icc_profile=inks),
    }
    target.put_all("CMYK", files, Outcome.MEASURED)


def put_palettes_and_alpha(target: HostileFolder) -> None:
    """Palettes of several sizes, and every way to be transparent."""

    def palette(colours: int = 256) -> Image.Image:
        return target.picture().quantize(colours)

    palettes = {
        "plain.png": encoded(palette(), "PNG"),
        "two colours.png": encoded(palette(2), "PNG"),
        "sixteen colours.png": encoded(palette(16), "PNG", bits=4),
        "one transparent.png": encoded(palette(), "PNG", transparency=3),
        "all half transparent.png": encoded(palette(), "PNG", transparency=bytes(range(256))),
        "transparent.gif": encoded(palette(), "GIF", transparency=2),
        "plain.bmp": encoded(palette(), "BMP"),
        "plain.tif": encoded(palette(), "TIFF"),
    }
    target.put_all("palette", palettes, Outcome.MEASURED)
    only_alpha = Image.new("RGB", SIZE, (20, 40, 60))
    only_alpha.putalpha(target.picture(mode="L"))
    alphas = {
        "gradient.png": encoded(_veiled(target), "PNG"),
        "grey.png": encoded(_veiled(target).convert("LA"), "PNG"),
        "gradient.webp": encoded(_veiled(target), "WEBP"),
        "gradient.tif": encoded(_veiled(target), "TIFF"),
        "gradient.avif": encoded(_veiled(target), "AVIF"),
        "one colour is clear.png": target.encoded("PNG", transparency=(1, 2, 3)),
        "only alpha differs.png": encoded(only_alpha, "PNG"),
    }
    target.put_all("alpha", alphas, Outcome.MEASURED)
    clear = target.picture()
    clear.putalpha(0)
    target.put("alpha", "nothing is visible.png", encoded(clear, "PNG"), Outcome.SKIPPED)


def _veiled(target: HostileFolder) -> Image.Image:
    image = target.picture()
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    return image


def put_high_range(target: HostileFolder) -> None:
    """Float images, and transfer functions that 8-bit sRGB cannot hold."""

    def floats(scale: float = 1.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return (np.asarray(target.picture(mode="L")) * (scale / 255)).astype(np.float32)

    def put(name: str, data: bytes, expected: Outcome) -> None:
        target.put("float and HDR", name, data, expected)

    put("zero to one.tif", encoded(Image.fromarray(floats()), "TIFF"), Outcome.MEASURED)
    put("zero to 4000.tif", encoded(Image.fromarray(floats(4000)), "TIFF"), Outcome.EITHER)
    holed = floats()
    holed[:2], holed[2:4], holed[4:6] = np.nan, np.inf, -np.inf
    put("not finite.tif", encoded(Image.fromarray(holed), "TIFF"), Outcome.EITHER)
    put("nothing is finite.tif", encoded(Image.fromarray(holed * np.nan), "TIFF"), Outcome.EITHER)
    colours = np.repeat(floats()[..., None], 3, axis=2).tobytes()
    fields = tiff_fields(SIZE, 3, 32, len(colours)) | {339: shorts(3, 3, 3)}
    put("RGB.tif", tiff(fields, colours), Outcome.EITHER)
    put("portable float map.ppm", b"Pf\n24 24\n-1.0\n" + floats().tobytes(), Outcome.EITHER)
    transfers = (("PQ", PQ, Outcome.SKIPPED), ("HLG", HLG, Outcome.SKIPPED), ("sRGB", SRGB_TRANSFER, Outcome.MEASURED))
    for name, transfer, expected in transfers:
        code = png_chunk(b"cICP", bytes([9 if transfer != SRGB_TRANSFER else 1, transfer, 0, 1]))
        put(f"declares {name}.png", with_png_chunks(target.encoded("PNG"), code), expected)
    avif = target.encoded("AVIF")
    if (place := avif.find(b"nclx")) > 0:
        put("declares PQ.avif", avif[: place + 6] + struct.pack(">H", PQ) + avif[place + 8 :], Outcome.EITHER)
    radiance = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 24 +X 24\n" + target.picture(mode="CMYK").tobytes()
    exr = b"\x76\x2f\x31\x01\x02\0\0\0channels\0chlist\0" + bytes(64)
    for name, data in (("radiance.hdr", radiance), ("open.exr", exr)):
        put(name, data, Outcome.SKIPPED)
        put(f"{name} called.png", data, Outcome.SKIPPED)


def put_profiles(target: HostileFolder) -> None:
    """Colour profiles: fitting, wide, broken, enormous and of another colour space."""
    # Primaries in another order: whoever ignores the profile sees green for red.
    swapped = SRGB[1:] + SRGB[:1]
    whole = rgb_profile()
    profiles = {
        "sRGB": whole, "wide gamut": rgb_profile(ADOBE_RGB), "swapped primaries": rgb_profile(swapped),
        "no profile at all": b"this is not a profile", "half": whole[: len(whole) // 2], "header only": whole[:128],
        "of a grey screen": grey_profile(), "of a printer": cmyk_profile(),
        "500 kB": rgb_profile(more={b"junk": bytes(500_000)}),
    }  # fmt: skip
    for name, profile in profiles.items():
        for suffix in ("png", "jpg"):
            data = target.encoded(FORMATS[suffix], icc_profile=profile)
            target.put("ICC profile", f"{name}.{suffix}", data, Outcome.MEASURED)
    large = rgb_profile(more={b"junk": bytes(5_000_000)})
    target.put("ICC profile", "5 MB.jpg", target.encoded("JPEG", icc_profile=large), Outcome.MEASURED)
    packed = png_chunk(b"iCCP", b"own\0\0" + zlib.compress(large))
    target.put("ICC profile", "5 MB.png", with_png_chunks(target.encoded("PNG"), packed), Outcome.EITHER)
    others = (("grey of a screen", "L", whole), ("grey of a grey screen", "L", grey_profile()),
              ("alpha swapped primaries", "RGBA", rgb_profile(swapped)),
              ("palette swapped primaries", "P", rgb_profile(swapped)))  # fmt: skip
    for name, mode, profile in others:
        data = target.encoded("PNG", mode=mode, icc_profile=profile)
        target.put("ICC profile", f"{name}.png", data, Outcome.MEASURED)


def put_orientations(target: HostileFolder) -> None:
    """EXIF orientations that exist and that do not."""
    fields = {str(value): shorts(value) for value in (*range(10), 99)} | {
        "as text": text_field("left"),
        "none": shorts(),
    }
    for name, field in fields.items():
        segment = jpeg_segment(0xE1, b"Exif\0\0" + tiff({0x0112: field}))
        data = with_jpeg_segments(target.encoded("JPEG", (24, 16)), segment)
        target.put("orientation", f"{name}.jpg", data, Outcome.MEASURED)
    # Turning the picture means writing its EXIF anew, which fails where a number is a text.
    odd = jpeg_segment(0xE1, b"Exif\0\0" + tiff({0x0112: shorts(6), 0x0101: text_field("wide")}))
    data = with_jpeg_segments(target.encoded("JPEG", (24, 16)), odd)
    target.put("orientation", "6 beside a height in words.jpg", data, Outcome.EITHER)
    turned = png_chunk(b"eXIf", tiff({0x0112: shorts(6)}))
    data = with_png_chunks(target.encoded("PNG", (24, 16)), turned)
    target.put("orientation", "6.png", data, Outcome.MEASURED)


def put_frames(target: HostileFolder) -> None:
    """Animations and files of several pages; the first picture counts."""

    def several(form: str, count: int = 3, **options: object) -> bytes:
        frames = [target.picture() for _ in range(count)]
        return encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)

    animated = {
        "three.gif": several("GIF"), "three.png": several("PNG"), "three.webp": several("WEBP"),
        "three.avif": several("AVIF"), "200 frames.gif": several("GIF", 200),
        "still apart.png": several("PNG", default_image=True),
    }  # fmt: skip
    target.put_all("animated", animated, Outcome.MEASURED)
    cut = several("GIF", 2)
    # Eight bytes of timing, then a frame's place that is not all there; the first frame is whole.
    target.put("animated", "second frame is cut.gif", cut[: cut.rindex(b"\x21\xf9\x04") + 11], Outcome.EITHER)
    for name, form in (("three.tif", "TIFF"), ("three.jpg", "MPO")):
        target.put("multi-page", name, several(form), Outcome.MEASURED)
    pixels = target.picture().tobytes()
    lost = tiff(tiff_fields(SIZE, 3, 8, len(pixels)), pixels, 0x7FFFFFFF)
    target.put("multi-page", "second page is lost.tif", lost, Outcome.EITHER)


def put_shapes(target: HostileFolder) -> None:
    """The smallest and the longest pictures, and those that show nothing."""
    for width, height in ((2, 2), (3, 1), (1, 10_000), (10_000, 1), (10_000, 10), (10, 10_000)):
        data = target.encoded("PNG", (width, height))
        target.put("tiny and extreme", f"{width} x {height}.png", data, Outcome.MEASURED)
    colours = itertools.cycle([(0, 0, 0), (255, 255, 255), (200, 10, 10)])
    for side, form in itertools.product((1, 64), ("png", "jpg", "gif")):
        data = encoded(Image.new("RGB", (side, side), next(colours)), FORMATS[form])
        target.put("tiny and extreme", f"one colour {side} x {side}.{form}", data, Outcome.SKIPPED)
    nearly = Image.new("RGB", SIZE, (90, 90, 90))
    nearly.putpixel((3, 3), (91, 90, 90))
    target.put("tiny and extreme", "one level in one pixel.png", encoded(nearly, "PNG"), Outcome.EITHER)
