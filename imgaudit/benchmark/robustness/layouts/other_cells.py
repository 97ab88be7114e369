"""Files of the other formats in their depths, channels and codings, and colours declared without a profile."""

import importlib.util
import io
import itertools
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from imgaudit.benchmark.robustness.hostile.bytes import png, png_chunk, png_rows, with_png_chunks
from imgaudit.benchmark.robustness.layouts.cell import (
    HEIGHT,
    WIDTH,
    Cell,
    Pixels,
    make_alpha,
    make_picture,
    to_bytes,
)

PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey alpha", 6: "RGBA"}
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Colour types of PNG, and the depths that each may have."""

LOSSY = 12.0
"""Largest mean difference, of 255, that a lossy format may make."""


def make_other_cells() -> Iterator[Cell]:
    """Yield a file for every coding of every format that can be written here."""
    yield from _make_pngs()
    yield from _make_declared_pngs()
    yield from _make_jpegs()
    yield from _make_plain_files()
    yield from _make_heics()


def save(image: Image.Image, form: str, **options: object) -> bytes:
    """Return an image in one of Pillow's formats."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _make_pngs() -> Iterator[Cell]:
    for colour, depths in PNG_DEPTHS.items():
        for depth in depths:
            data, wanted = _make_png(colour, depth)
            yield Cell("PNG", f"{PNG_COLOURS[colour]}, {depth} bit", data, wanted, 3.0)


def _make_png(colour: int, depth: int) -> tuple[bytes, Pixels]:
    picture, alpha, top = make_picture(), make_alpha(), 2**depth - 1
    if colour == 3:
        indices = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 7) % (top + 1)
        table = np.random.default_rng(5).integers(0, 256, (top + 1, 3), dtype=np.uint8)
        head = png((WIDTH, HEIGHT), _pack(indices[..., None], depth), depth=depth, colour=3)
        return with_png_chunks(head, png_chunk(b"PLTE", table.tobytes())), table[indices]
    colours = picture[..., 2:] if colour in {0, 4} else picture
    samples = np.round(colours * top).astype(np.int64)
    wanted = to_bytes(np.broadcast_to(samples / top, picture.shape))
    if colour in {4, 6}:
        wanted = to_bytes(wanted / 255 * alpha[..., None] + 1 - alpha[..., None])
        samples = np.concatenate([samples, np.round(alpha[..., None] * top).astype(np.int64)], axis=-1)
    return png((WIDTH, HEIGHT), _pack(samples, depth), depth=depth, colour=colour), wanted


def _pack(samples: NDArray[np.int64], depth: int) -> bytes:
    rows = samples.reshape(HEIGHT, -1)
    bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return png_rows(np.packbits(bits.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes(), HEIGHT)


def _make_declared_pngs() -> Iterator[Cell]:
    """Colours declared by cICP, gAMA and cHRM; what is wanted is computed from the definitions of the spaces."""
    plain, _ = _make_png(2, 8)
    picture = to_bytes(make_picture()) / 255
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    # Display P3 to sRGB in linear light, as CSS Color 4 gives it.
    p3 = np.array(
        [[1.2249401763, -0.2249401763, 0], [-0.0420569547, 1.0420569547, 0], [-0.0196375546, -0.0786360456, 1.0982736]]
    )
    for name, chunks, wanted in (
        ("cICP sRGB", [(b"cICP", bytes([1, 13, 0, 1]))], picture),
        ("cICP Display P3", [(b"cICP", bytes([12, 13, 0, 1]))], _encode(linear @ p3.T)),
        ("gAMA 1.0", [(b"gAMA", struct.pack(">I", 100_000))], _encode(picture)),
        ("gAMA 1/1.8", [(b"gAMA", struct.pack(">I", 55_556))], _encode(picture**1.8)),
        ("gAMA overruled by sRGB", [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))], picture),
        ("cICP PQ", [(b"cICP", bytes([9, 16, 0, 1]))], picture * 0),
        ("cICP HLG", [(b"cICP", bytes([9, 18, 0, 1]))], picture * 0),
    ):
        data = with_png_chunks(plain, *(png_chunk(kind, body) for kind, body in chunks))
        yield Cell("PNG, declared colours", name, data, to_bytes(wanted))


def _encode(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


def _make_jpegs() -> Iterator[Cell]:
    wanted = to_bytes(make_picture())
    picture = Image.fromarray(wanted)
    for progressive, subsampling in itertools.product((False, True), (0, 1, 2)):
        data = save(picture, "JPEG", quality=95, progressive=progressive, subsampling=subsampling)
        name = f"{'progressive' if progressive else 'baseline'}, subsampling {subsampling}"
        yield Cell("JPEG", name, data, wanted, LOSSY, lossy=True)
    yield Cell("JPEG", "RGB", save(picture, "JPEG", quality=95, keep_rgb=True), wanted, LOSSY, lossy=True)
    grey = picture.convert("L")
    yield Cell("JPEG", "grey", save(grey, "JPEG", quality=95), np.asarray(grey.convert("RGB")), LOSSY, lossy=True)
    inks = ImageChops.invert(picture).convert("RGB")
    cmyk = Image.merge("CMYK", [*inks.split(), Image.new("L", picture.size, 0)])
    marked = save(cmyk, "JPEG", quality=95)
    yield Cell("JPEG", "CMYK with Adobe's marker", marked, wanted, LOSSY, lossy=True)
    # Pillow inverts the inks when it writes; without Adobe's marker they are stored as they are.
    upright = _drop_adobe(save(ImageChops.invert(cmyk), "JPEG", quality=95))
    yield Cell("JPEG", "CMYK without Adobe's marker", upright, wanted, LOSSY, lossy=True)


def _drop_adobe(data: bytes) -> bytes:
    place = data.index(b"\xff\xee")
    return data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4], "big") :]


def _make_plain_files() -> Iterator[Cell]:
    wanted, alpha = to_bytes(make_picture()), make_alpha()
    rgb = Image.fromarray(wanted)
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray((alpha * 255).round().astype(np.uint8)))
    on_white = to_bytes(wanted / 255 * alpha[..., None] + 1 - alpha[..., None])
    grey = rgb.convert("L")
    on_grey = np.asarray(grey.convert("RGB"))
    wide = Image.fromarray(np.asarray(grey, dtype=np.uint16) * np.uint16(257))
    palette = rgb.quantize(64)
    looked_up = np.asarray(palette.convert("RGB"))
    exact: list[tuple[str, str, Image.Image, Pixels, dict[str, object]]] = [
        ("WebP", "lossless RGB", rgb, wanted, {"lossless": True}),
        ("WebP", "lossless RGBA", rgba, on_white, {"lossless": True, "exact": True}),
        ("BMP", "1 bit", grey.convert("1"), np.asarray(grey.convert("1").convert("RGB")), {}),
        ("BMP", "8 bit grey", grey, on_grey, {}), ("BMP", "palette", palette, looked_up, {}),
        ("BMP", "24 bit", rgb, wanted, {}), ("GIF", "palette", palette, looked_up, {}),
        ("TGA", "RGB", rgb, wanted, {}), ("TGA", "RGB, RLE", rgb, wanted, {"compression": "tga_rle"}),
        ("TGA", "RGBA", rgba, on_white, {}), ("TGA", "grey", grey, on_grey, {}), ("PPM", "RGB", rgb, wanted, {}),
        ("PPM", "grey", grey, on_grey, {}), ("PPM", "16 bit grey", wide, on_grey, {}),
        ("JPEG 2000", "RGB", rgb, wanted, {"irreversible": False}),
        ("JPEG 2000", "RGBA", rgba, on_white, {"irreversible": False}),
        ("JPEG 2000", "grey", grey, on_grey, {"irreversible": False}),
        ("JPEG 2000", "16 bit grey", wide, on_grey, {"irreversible": False}), ("QOI", "RGB", rgb, wanted, {}),
        ("QOI", "RGBA", rgba, on_white, {}),
    ]  # fmt: skip
    Image.init()
    names = {"WebP": "WEBP", "JPEG 2000": "JPEG2000"}
    for kind, name, image, target, options in exact:
        form = names.get(kind, kind)
        if form in Image.SAVE:
            yield Cell(kind, name, save(image, form, **options), target)
    for compression in ("jpeg", "group3", "group4", "zstd"):
        bilevel = compression.startswith("group")
        stored = grey.convert("1") if bilevel else rgb
        data = save(stored, "TIFF", compression=compression)
        target = np.asarray(stored.convert("RGB"))
        yield Cell("TIFF, other codings", compression, data, target, LOSSY, lossy=compression == "jpeg")
    yield Cell("BMP", "16 bit, 5-6-5", _make_narrow_bmp(wanted), wanted, 9.0)
    rows = wanted.astype(">u2") * np.uint16(257)
    yield Cell("PPM", "16 bit RGB", f"P6 {WIDTH} {HEIGHT} 65535\n".encode() + rows.astype(">u2").tobytes(), wanted)
    yield Cell("WebP", "lossy", save(rgb, "WEBP", quality=95), wanted, LOSSY, lossy=True)
    if "AVIF" in Image.SAVE:
        for subsampling, image, target in itertools.product(("4:2:0", "4:4:4"), (rgb,), (wanted,)):
            data = save(image, "AVIF", quality=95, subsampling=subsampling)
            yield Cell("AVIF", subsampling, data, target, LOSSY, lossy=True)
        yield Cell("AVIF", "RGBA", save(rgba, "AVIF", quality=95), on_white, LOSSY, lossy=True)


def _make_narrow_bmp(wanted: Pixels) -> bytes:
    red, green, blue = (wanted[::-1, :, n].astype(np.uint16) for n in range(3))
    pixels = (red >> 3 << 11) | (green >> 2 << 5) | (blue >> 3)
    rows = np.pad(pixels, ((0, 0), (0, WIDTH % 2))).astype("<u2").tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 16, 3, len(rows), 2835, 2835, 0, 0)
    head += struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    return struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows


def _make_heics() -> Iterator[Cell]:
    if importlib.util.find_spec("pillow_heif") is None:
        return
    import pillow_heif

    wanted, alpha = to_bytes(make_picture()), make_alpha()
    for bits in (8, 10, 12):
        values = make_picture()
        buffer = io.BytesIO()
        samples = np.round(values * 255).astype(np.uint8) if bits == 8 else np.round(values * 65535).astype("<u2")
        pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
        mode = "RGB" if bits == 8 else "RGB;16"
        pillow_heif.encode(mode, (WIDTH, HEIGHT), samples.tobytes(), buffer, quality=95, chroma=444)
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
        yield Cell("HEIC", f"{bits} bit", buffer.getvalue(), wanted, LOSSY, lossy=True)
    rgba = np.dstack([wanted, (alpha * 255).round().astype(np.uint8)])
    buffer = io.BytesIO()
    pillow_heif.encode("RGBA", (WIDTH, HEIGHT), rgba.tobytes(), buffer, quality=95)
    on_white = to_bytes(wanted / 255 * alpha[..., None] + 1 - alpha[..., None])
    yield Cell("HEIC", "alpha", buffer.getvalue(), on_white, LOSSY, lossy=True)
