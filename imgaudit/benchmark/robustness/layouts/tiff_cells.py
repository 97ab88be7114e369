"""TIFFs in every combination of colours, depth, byte order, order of channels, compression, prediction and alpha."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from imgaudit.benchmark.robustness.layouts.cell import Cell, Pixels, make_alpha, make_picture, to_bytes
from imgaudit.benchmark.robustness.layouts.tiff_writing import (
    LZW,
    PACKBITS,
    PLAIN,
    ZIP,
    ByteOrder,
    TiffForm,
    write_tiff,
)

DEPTHS = (
    (1, "u"), (2, "u"), (4, "u"), (8, "u"), (12, "u"), (16, "u"), (32, "u"), (8, "i"), (16, "i"), (32, "i"), (16, "f"),
    (32, "f"), (64, "f"),
)  # fmt: skip
"""Bits a sample and kinds of numbers."""

COLOURS = {"grey": (0, 1), "RGB": (2,), "palette": (3,), "CMYK": (5,), "Lab": (8, 9)}
"""Photometric interpretations."""

ORDERS: tuple[ByteOrder, ByteOrder] = ("<", ">")
"""Byte orders."""

ORIENTED = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}  # fmt: skip
"""Picture as it is seen, from the picture as it is stored, by the orientation tag."""


def make_tiff_cells() -> Iterator[Cell]:
    """Yield a file for every combination that the specification allows."""
    choices = itertools.product(
        DEPTHS, ORDERS, (False, True), ((PLAIN, 1), (LZW, 1), (LZW, 2), (ZIP, 1), (ZIP, 2), (PACKBITS, 1)),
        (None, 0, 1, 2),
    )  # fmt: skip
    for (bits, kind), order, separate, (compression, predictor), extra in choices:
        for colours, photometrics in COLOURS.items():
            for photometric in photometrics:
                form = TiffForm(
                    photometric, bits, kind, order, separate, compression, predictor, extra
                )  # fmt: skip
                if _is_allowed(form):
                    yield _make_cell(f"TIFF, {colours}", form)
    yield from _make_more_cells()


def _is_allowed(form: TiffForm) -> bool:
    """Return whether the specification gives the combination a meaning; signed integers have one by their range."""
    one_channel = form.photometric in {0, 1, 3} and form.extra is None
    if (form.separate and one_channel) or (
        form.predictor == 2 and (form.bits < 8 or form.bits == 12 or form.kind == "f")
    ):
        return False
    if form.photometric == 3:
        return form.kind == "u" and form.bits <= 16 and form.bits != 12 and form.extra is None
    if form.photometric in {8, 9}:
        return form.kind == "u" and form.bits in {8, 16} and form.extra is None
    if form.photometric == 5:
        return form.kind in {"u", "f"} and form.bits >= 8
    return form.bits > 1 or form.extra is None


def _make_more_cells() -> Iterator[Cell]:
    """Tiles, reversed bits and orientations, each with some depths."""
    for photometric, (bits, kind), order in itertools.product((0, 1, 2), DEPTHS, ORDERS):
        for tiled, separate, reverse in ((True, False, False), (True, True, False), (False, False, True)):
            form = TiffForm(photometric, bits, kind, order, separate, tiled=tiled, reversed_bits=reverse)
            if _is_allowed(form):
                yield _make_cell("TIFF, tiles" if tiled else "TIFF, reversed bits", form)
    for orientation, (bits, kind) in itertools.product(range(2, 9), ((8, "u"), (16, "u"), (32, "f"))):
        for photometric, separate in ((1, False), (2, False), (2, True)):
            form = TiffForm(photometric, bits, kind, separate=separate, orientation=orientation)
            yield _make_cell("TIFF, orientation", form)


def _make_cell(kind: str, form: TiffForm) -> Cell:
    colours, wanted, palette = _make_samples(form)
    samples = _quantise(colours, form)
    if form.extra is not None:
        alpha = make_alpha()
        if form.extra == 1:
            samples = _quantise(colours * alpha[..., None], form)
        if form.extra in {1, 2} and form.photometric != 5:
            wanted = _flatten(wanted, alpha, form)
        samples = np.concatenate([samples, _quantise(alpha[..., None], form)], axis=-1)
    data = write_tiff(samples, form, palette)
    tolerance = 2.0 if form.extra != 1 else 3.0 + 255 / (0.2 * (2 ** min(form.bits, 8) - 1)) / 2
    if form.photometric in {5, 8, 9}:
        tolerance = 4.0
    return Cell(kind, form.name, data, np.ascontiguousarray(ORIENTED[form.orientation](wanted)), tolerance)


def _make_samples(form: TiffForm) -> tuple[NDArray[np.float64], Pixels, NDArray[np.uint16] | None]:
    """Return samples (height, width, channels) in 0 to 1, the picture that they mean, and their palette."""
    picture = make_picture()
    steps = 2**form.bits - 1 if form.bits < 8 else 0
    if form.photometric == 3:
        return _make_palette(form)
    if form.photometric in {8, 9}:
        return _make_lab(form)
    if form.photometric == 5:
        inks = np.concatenate([1 - picture, np.zeros((*picture.shape[:2], 1))], axis=-1)
        return inks, to_bytes(picture), None
    rgb = np.round(picture * steps) / steps if steps else picture
    if form.photometric == 2:
        return rgb, to_bytes(rgb), None
    grey = rgb[..., 2]
    return (1 - grey if form.photometric == 0 else grey)[..., None], to_bytes(grey), None


def _make_palette(form: TiffForm) -> tuple[NDArray[np.float64], Pixels, NDArray[np.uint16]]:
    count = 2**form.bits
    table = np.random.default_rng(5).integers(0, 256, (3, count), dtype=np.uint16)
    height, width = make_picture().shape[:2]
    indices = (np.arange(height * width).reshape(height, width) * 7) % min(count, 256)
    wanted = table.T[indices].astype(np.uint8)
    return (indices / (count - 1))[..., None], wanted, table * np.uint16(257)


def _make_lab(form: TiffForm) -> tuple[NDArray[np.float64], Pixels, None]:
    """Neutral greys, whose L alone makes the picture: an error in a or b would give them a colour."""
    grey = make_picture()[..., 2]
    linear = np.where(grey <= 0.04045, grey / 12.92, ((grey + 0.055) / 1.055) ** 2.4)
    light = np.where(linear > 216 / 24389, 116 * np.cbrt(linear) - 16, linear * 24389 / 27) / 100
    top = 2**form.bits - 1
    neutral = 0.0 if form.photometric == 8 else (128 if form.bits == 8 else 128 * 256) / top
    return np.stack([light, np.full_like(light, neutral), np.full_like(light, neutral)], axis=-1), to_bytes(grey), None


def _quantise(values: NDArray[np.float64], form: TiffForm) -> NDArray[np.generic]:
    if form.kind == "f":
        real: NDArray[np.generic] = values.astype(f"f{form.bits // 8}")
        return real
    top = 2 ** (form.bits - (form.kind == "i")) - 1
    size = 1 if form.bits <= 8 else 2 if form.bits <= 16 else 4
    whole: NDArray[np.generic] = np.round(np.clip(values, 0, 1) * top).astype(f"{form.kind}{size}")
    return whole


def _flatten(wanted: Pixels, alpha: NDArray[np.float64], form: TiffForm) -> Pixels:
    steps = 2**form.bits - 1 if form.kind == "u" and form.bits < 8 else 255
    rounded = (np.round(alpha * steps) / steps)[..., None]
    return to_bytes(wanted / 255 * rounded + (1 - rounded))
