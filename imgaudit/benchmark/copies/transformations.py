"""What is done to pictures that are copied: 26 transformations in three strengths, from a seed."""

import io
import math
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Transformation = Callable[[Image.Image, int, Random, Image.Image], Image.Image]
"""An RGB picture, a strength from 0 (weak) to 2 (strong), random numbers, and another picture for those that mix."""

STRENGTHS = ("weak", "medium", "strong")


def transform(name: str, picture: Image.Image, strength: int, seed: str, other: Image.Image) -> Image.Image:
    """One transformation; the same seed gives the same picture.

    >>> picture = Image.new("RGB", (40, 30), "red")
    >>> transform("half turn", picture, 0, "seed", picture).size
    (40, 30)
    """
    return TRANSFORMATIONS[name](picture, strength, Random(f"{name}:{strength}:{seed}"), other).convert("RGB")


def _encoded(picture: Image.Image, kind: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _jpeg(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    return _encoded(picture, "JPEG", (60, 25, 8)[strength])


def _webp(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    return _encoded(picture, "WEBP", (50, 20, 3)[strength])


def _thumbnail(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    share = (0.5, 0.25, 0.12)[strength]
    return picture.resize([max(8, round(side * share)) for side in picture.size], Image.Resampling.BICUBIC)


def _enlarged(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    share = (0.5, 0.3, 0.2)[strength]
    small = picture.resize([max(8, round(side * share)) for side in picture.size], Image.Resampling.BILINEAR)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def _crop(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """A part somewhere in the picture: 80, 50 or 25 % of its area."""
    share = math.sqrt((0.8, 0.5, 0.25)[strength])
    width, height = (max(8, round(side * share)) for side in picture.size)
    left, top = random.randint(0, picture.width - width), random.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height))


def _trim(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """A strip off one side."""
    share = (0.1, 0.25, 0.4)[strength]
    width, height = picture.size
    across, down = round(width * share), round(height * share)
    boxes = [(across, 0, width, height), (0, down, width, height), (0, 0, width - across, height)]
    return picture.crop(random.choice(boxes))


def _flip(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """Mirrored; with a crop as well when it is stronger."""
    mirrored = ImageOps.mirror(picture)
    return mirrored if strength == 0 else _crop(mirrored, strength - 1, random, other)


def _rotate(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """A few degrees, corners filled with white."""
    angle = (3, 8, 20)[strength] * random.choice((-1, 1))
    return picture.rotate(angle, Image.Resampling.BICUBIC, expand=strength == 2, fillcolor="white")


def _half_turn(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    turns = (Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)
    return picture.transpose(turns[strength])


def _perspective(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    reach = (0.04, 0.1, 0.18)[strength]
    width, height = picture.size
    corners = []
    for x, y in ((0, 0), (0, height), (width, height), (width, 0)):
        inward = (random.uniform(0, reach) * width, random.uniform(0, reach) * height)
        corners += [x + inward[0] * (1 if x == 0 else -1), y + inward[1] * (1 if y == 0 else -1)]
    return picture.transform(picture.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)


def _stretch(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    share = (0.85, 0.65, 0.45)[strength]
    width, height = picture.size
    across = random.random() < 0.5
    return picture.resize((max(8, round(width * share)), height) if across else (width, max(8, round(height * share))))


def _font(picture: Image.Image, share: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(picture.height * share)))


def _text(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """A few words across the picture, as memes have them."""
    made = picture.copy()
    draw, lines = ImageDraw.Draw(made), (1, 2, 4)[strength]
    for line in range(lines):
        words = " ".join(random.choice(("WHEN", "YOU", "SEE", "IT", "AGAIN", "SALE", "NEW")) for _ in range(3))
        place = (random.uniform(0, 0.3) * made.width, (line + 0.3 * random.random()) / lines * made.height)
        draw.text(place, words, fill="white", stroke_fill="black", stroke_width=2, font=_font(made, 0.12))
    return made


def _watermark(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """A slanted word, repeated and half transparent."""
    layer = Image.new("L", [2 * max(picture.size)] * 2, 0)
    draw, step = ImageDraw.Draw(layer), max(24, round(picture.height * 0.3))
    for y in range(0, layer.height, step):
        for x in range(0, layer.width, 3 * step):
            draw.text((x, y), "preview", fill=255, font=_font(picture, 0.12))
    corner = ((layer.width - picture.width) // 2, (layer.height - picture.height) // 2)
    box = (*corner, corner[0] + picture.width, corner[1] + picture.height)
    mask = layer.rotate(30).crop(box).point(lambda value: round(value * (0.3, 0.5, 0.8)[strength]))
    return Image.composite(Image.new("RGB", picture.size, "white"), picture, mask)


def _sticker(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """A round part of another picture on top."""
    side = round(min(picture.size) * (0.25, 0.4, 0.6)[strength])
    sticker, mask = ImageOps.fit(other, (side, side)), Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((0, 0, side, side), fill=255)
    made = picture.copy()
    made.paste(sticker, (random.randint(0, picture.width - side), random.randint(0, picture.height - side)), mask)
    return made


def _border(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    colour = random.choice(("white", "black", "#c03030", "#204080"))
    return ImageOps.expand(picture, round(min(picture.size) * (0.05, 0.15, 0.3)[strength]), colour)


def _letterbox(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """Bars above and below."""
    bar = round(picture.height * (0.1, 0.25, 0.5)[strength])
    return ImageOps.expand(picture, (0, bar, 0, bar), random.choice(("black", "white")))


def _brightness(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(random.choice(((0.8, 1.25), (0.55, 1.6), (0.35, 2.2))[strength]))


def _contrast(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(picture).enhance(random.choice(((0.7, 1.4), (0.45, 2.0), (0.25, 3.0))[strength]))


def _saturation(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """More or less colour; the strongest has none."""
    return ImageEnhance.Color(picture).enhance((1.6, 0.3, 0.0)[strength])


def _hue(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    hue, *rest = picture.convert("HSV").split()
    turned = ImageChops.add_modulo(hue, Image.new("L", hue.size, (12, 40, 110)[strength]))
    return Image.merge("HSV", (turned, *rest)).convert("RGB")


def _blur(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(min(picture.size) * (0.006, 0.015, 0.04)[strength]))


def _sharpen(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.UnsharpMask(radius=2, percent=(150, 400, 900)[strength], threshold=0))


def _noise(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    sigma = (12, 30, 70)[strength]
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


def _posterised(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    return ImageOps.posterize(picture, (4, 3, 2)[strength])


def _collage(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """Beside others of its size: one of two, of four or of nine."""
    across, down = ((2, 1), (2, 2), (3, 3))[strength]
    width, height = picture.size
    sheet = Image.new("RGB", (across * width, down * height))
    own = random.randrange(across * down)
    for cell in range(across * down):
        shown = picture if cell == own else ImageOps.fit(other, picture.size).rotate(90 * (cell % 4))
        sheet.paste(shown.resize(picture.size), (cell % across * width, cell // across * height))
    return sheet.resize(picture.size, Image.Resampling.BICUBIC)


def _screenshot(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """In a window with bars, text and buttons around it, of which it fills 70, 45 or 25 %."""
    share = math.sqrt((0.7, 0.45, 0.25)[strength])
    width, height = (round(side / share) for side in picture.size)
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


def _blend(picture: Image.Image, strength: int, random: Random, other: Image.Image) -> Image.Image:
    """Another picture shines through."""
    return Image.blend(picture, ImageOps.fit(other, picture.size), (0.15, 0.3, 0.45)[strength])


TRANSFORMATIONS: Mapping[str, Transformation] = MappingProxyType(
    {
        "JPEG": _jpeg, "WebP": _webp, "thumbnail": _thumbnail, "enlarged": _enlarged, "crop": _crop, "trim": _trim,
        "flip": _flip, "rotate": _rotate, "half turn": _half_turn, "perspective": _perspective, "stretch": _stretch,
        "text": _text, "watermark": _watermark, "sticker": _sticker, "border": _border, "letterbox": _letterbox,
        "brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue, "blur": _blur,
        "sharpen": _sharpen, "noise": _noise, "posterised": _posterised, "collage": _collage,
        "screenshot": _screenshot, "blend": _blend,
    }
)  # fmt: skip
"""By name."""
