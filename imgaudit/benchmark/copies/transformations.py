"""What is done to pictures that are copied: 26 transformations in three strengths, from a seed."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Transformation = Callable[[Image.Image, Any, Random, Image.Image], Image.Image]
"""An RGB picture, how much is done to it, random numbers, and another picture for those that mix."""

BICUBIC = Image.Resampling.BICUBIC

HALF_TURNS = (Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)

BORDERS = ("white", "black", "#c03030", "#204080")

STRENGTHS = ("weak", "medium", "strong")


def transform(name: str, picture: Image.Image, strength: int, seed: str, other: Image.Image) -> Image.Image:
    """One transformation; the same seed gives the same picture.

    >>> picture = Image.new("RGB", (40, 30), "red")
    >>> transform("half turn", picture, 0, "seed", picture).size
    (40, 30)
    """
    change, amounts = TRANSFORMATIONS[name]
    return change(picture, amounts[strength], Random(f"{name}:{strength}:{seed}"), other).convert("RGB")


def _encoded(picture: Image.Image, kind: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _resized(picture: Image.Image, share: float, resampling: Image.Resampling) -> Image.Image:
    return picture.resize([max(8, round(side * share)) for side in picture.size], resampling)


def _enlarged(picture: Image.Image, share: float, random: Random, other: Image.Image) -> Image.Image:
    return _resized(picture, share, Image.Resampling.BILINEAR).resize(picture.size, BICUBIC)


def _crop(picture: Image.Image, share: float, random: Random, other: Image.Image) -> Image.Image:
    """A part of a share of the area, somewhere in the picture."""
    width, height = (max(8, round(side * math.sqrt(share))) for side in picture.size)
    left, top = random.randint(0, picture.width - width), random.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height))


def _trim(picture: Image.Image, share: float, random: Random, other: Image.Image) -> Image.Image:
    """A strip off one side."""
    width, height = picture.size
    across, down = round(width * share), round(height * share)
    boxes = [(across, 0, width, height), (0, down, width, height), (0, 0, width - across, height)]
    return picture.crop(random.choice(boxes))


def _flip(picture: Image.Image, share: float, random: Random, other: Image.Image) -> Image.Image:
    """Mirrored; with a crop to a share of the area as well where that is below 1."""
    mirrored = ImageOps.mirror(picture)
    return mirrored if share == 1 else _crop(mirrored, share, random, other)


def _rotate(picture: Image.Image, angle: int, random: Random, other: Image.Image) -> Image.Image:
    """A few degrees, corners filled with white."""
    turn = random.choice((-1, 1)) * angle
    return picture.rotate(turn, BICUBIC, expand=angle > 10, fillcolor="white")


def _perspective(picture: Image.Image, reach: float, random: Random, other: Image.Image) -> Image.Image:
    width, height = picture.size
    corners = []
    for x, y in ((0, 0), (0, height), (width, height), (width, 0)):
        inward = (random.uniform(0, reach) * width, random.uniform(0, reach) * height)
        corners += [x + inward[0] * (1 if x == 0 else -1), y + inward[1] * (1 if y == 0 else -1)]
    return picture.transform(picture.size, Image.Transform.QUAD, corners, BICUBIC)


def _stretch(picture: Image.Image, share: float, random: Random, other: Image.Image) -> Image.Image:
    width, height = picture.size
    across = random.random() < 0.5
    return picture.resize((max(8, round(width * share)), height) if across else (width, max(8, round(height * share))))


def _font(picture: Image.Image, share: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(picture.height * share)))


def _text(picture: Image.Image, lines: int, random: Random, other: Image.Image) -> Image.Image:
    """A few words across the picture, as memes have them."""
    made = picture.copy()
    draw = ImageDraw.Draw(made)
    for line in range(lines):
        words = " ".join(random.choice(("WHEN", "YOU", "SEE", "IT", "AGAIN", "SALE", "NEW")) for _ in range(3))
        place = (random.uniform(0, 0.3) * made.width, (line + 0.3 * random.random()) / lines * made.height)
        draw.text(place, words, fill="white", stroke_fill="black", stroke_width=2, font=_font(made, 0.12))
    return made


def _watermark(picture: Image.Image, opacity: float, random: Random, other: Image.Image) -> Image.Image:
    """A slanted word, repeated and half transparent."""
    layer = Image.new("L", [2 * max(picture.size)] * 2, 0)
    draw, step = ImageDraw.Draw(layer), max(24, round(picture.height * 0.3))
    for y in range(0, layer.height, step):
        for x in range(0, layer.width, 3 * step):
            draw.text((x, y), "preview", fill=255, font=_font(picture, 0.12))
    corner = ((layer.width - picture.width) // 2, (layer.height - picture.height) // 2)
    box = (*corner, corner[0] + picture.width, corner[1] + picture.height)
    mask = layer.rotate(30).crop(box).point(lambda value: round(value * opacity))
    return Image.composite(Image.new("RGB", picture.size, "white"), picture, mask)


def _sticker(picture: Image.Image, share: float, random: Random, other: Image.Image) -> Image.Image:
    """A round part of another picture on top."""
    side = round(min(picture.size) * share)
    sticker, mask = ImageOps.fit(other, (side, side)), Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((0, 0, side, side), fill=255)
    made = picture.copy()
    made.paste(sticker, (random.randint(0, picture.width - side), random.randint(0, picture.height - side)), mask)
    return made


def _hue(picture: Image.Image, turn: int, random: Random, other: Image.Image) -> Image.Image:
    hue, *rest = picture.convert("HSV").split()
    turned = ImageChops.add_modulo(hue, Image.new("L", hue.size, turn))
    return Image.merge("HSV", (turned, *rest)).convert("RGB")


def _noise(picture: Image.Image, sigma: int, random: Random, other: Image.Image) -> Image.Image:
    values = bytes(min(255, max(0, round(random.gauss(128, sigma)))) for _ in range(4096))
    # Drawing a number for every pixel takes seconds; a tile of noise is shifted from row to row instead.
    width, height = picture.size
    rows = []
    for _ in range(3 * height):
        start = random.randrange(4096)
        row = (values[start:] + values[:start]) * (width // 4096 + 1)
        rows.append(row[:width])
    planes = [
        Image.frombytes("L", (width, height), b"".join(rows[plane * height : (plane + 1) * height]))
        for plane in range(3)
    ]
    return ImageChops.add(picture, Image.merge("RGB", planes), offset=-128)


def _collage(picture: Image.Image, grid: tuple[int, int], random: Random, other: Image.Image) -> Image.Image:
    """Beside others of its size: one of two, of four or of nine."""
    across, down = grid
    width, height = picture.size
    sheet = Image.new("RGB", (across * width, down * height))
    own = random.randrange(across * down)
    for cell in range(across * down):
        shown = picture if cell == own else ImageOps.fit(other, picture.size).rotate(90 * (cell % 4))
        sheet.paste(shown.resize(picture.size), (cell % across * width, cell // across * height))
    return sheet.resize(picture.size, BICUBIC)


def _screenshot(picture: Image.Image, share: float, random: Random, other: Image.Image) -> Image.Image:
    """In a window with bars, text and buttons around it, of which it fills a share."""
    width, height = (round(side / math.sqrt(share)) for side in picture.size)
    page = Image.new("RGB", (width, height), random.choice(("#ffffff", "#18191c", "#f0f2f5")))
    draw, bar = ImageDraw.Draw(page), round(0.06 * height)
    draw.rectangle((0, 0, width, bar), fill="#3a6ea5")
    draw.text((6, 2), "photos - browser", fill="white", font=_font(picture, 0.04))
    for line in range(6):
        top = bar + round((line + 1) * 0.13 * height)
        draw.text((6, top), "Lorem ipsum dolor sit amet", fill="#808080", font=_font(picture, 0.04))
    left, top = (
        random.randint(0, width - picture.width),
        random.randint(min(bar, height - picture.height), height - picture.height),
    )
    page.paste(picture, (left, top))
    return page


def _one_of(enhancer: type[ImageEnhance.Brightness | ImageEnhance.Contrast]) -> Transformation:
    return lambda picture, factors, random, _: enhancer(picture).enhance(random.choice(factors))


TRANSFORMATIONS: Mapping[str, tuple[Transformation, Sequence[Any]]] = MappingProxyType(
    {
        "JPEG": (lambda picture, quality, *_: _encoded(picture, "JPEG", quality), (60, 25, 8)),
        "WebP": (lambda picture, quality, *_: _encoded(picture, "WEBP", quality), (50, 20, 3)),
        "thumbnail": (lambda picture, share, *_: _resized(picture, share, BICUBIC), (0.5, 0.25, 0.12)),
        "enlarged": (_enlarged, (0.5, 0.3, 0.2)),
        "crop": (_crop, (0.8, 0.5, 0.25)),
        "trim": (_trim, (0.1, 0.25, 0.4)),
        "flip": (_flip, (1, 0.8, 0.5)),
        "rotate": (_rotate, (3, 8, 20)),
        "half turn": (lambda picture, turn, *_: picture.transpose(turn), HALF_TURNS),
        "perspective": (_perspective, (0.04, 0.1, 0.18)),
        "stretch": (_stretch, (0.85, 0.65, 0.45)),
        "text": (_text, (1, 2, 4)),
        "watermark": (_watermark, (0.3, 0.5, 0.8)),
        "sticker": (_sticker, (0.25, 0.4, 0.6)),
        "border": (lambda picture, share, random, _: ImageOps.expand(
            picture, round(min(picture.size) * share), random.choice(BORDERS)), (0.05, 0.15, 0.3)),
        "letterbox": (lambda picture, share, random, _: ImageOps.expand(
            picture, (0, round(picture.height * share)) * 2, random.choice(("black", "white"))), (0.1, 0.25, 0.5)),
        "brightness": (_one_of(ImageEnhance.Brightness), ((0.8, 1.25), (0.55, 1.6), (0.35, 2.2))),
        "contrast": (_one_of(ImageEnhance.Contrast), ((0.7, 1.4), (0.45, 2.0), (0.25, 3.0))),
        # More or less colour; the strongest has none.
        "saturation": (lambda picture, factor, *_: ImageEnhance.Color(picture).enhance(factor), (1.6, 0.3, 0.0)),
        "hue": (_hue, (12, 40, 110)),
        "blur": (lambda picture, share, *_: picture.filter(ImageFilter.GaussianBlur(min(picture.size) * share)),
                 (0.006, 0.015, 0.04)),
        "sharpen": (lambda picture, percent, *_: picture.filter(ImageFilter.UnsharpMask(2, percent, 0)),
                    (150, 400, 900)),
        "noise": (_noise, (12, 30, 70)),
        "posterised": (lambda picture, bits, *_: ImageOps.posterize(picture, bits), (4, 3, 2)),
        "collage": (_collage, ((2, 1), (2, 2), (3, 3))),
        "screenshot": (_screenshot, (0.7, 0.45, 0.25)),
        # Another picture shines through.
        "blend": (lambda picture, share, _, other: Image.blend(picture, ImageOps.fit(other, picture.size), share),
                  (0.15, 0.3, 0.45)),
    }
)  # fmt: skip
"""By name: what is done, and how much of it for each strength."""
