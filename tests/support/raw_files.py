"""A camera's raw as a tiny DNG: a mosaic of red, green and blue below a thumbnail, with the camera's colour matrix."""

from pathlib import Path

import numpy as np
import tifffile

SIZE = (96, 128)
"""Rows and columns of the sensor."""

COLOURS = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 210], [230, 220, 60]]) / 255
"""What the camera sees, in four quarters, in its own linear red, green and blue."""


def write_dng(path: Path) -> None:
    """Write a DNG whose thumbnail is noise, so that taking it for the picture would show."""
    height, width = SIZE
    scene = np.zeros((height, width, 3))
    scene[: height // 2, : width // 2], scene[: height // 2, width // 2 :] = COLOURS[0], COLOURS[1]
    scene[height // 2 :, : width // 2], scene[height // 2 :, width // 2 :] = COLOURS[2], COLOURS[3]
    mosaic = np.zeros((height, width))
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = scene[row::2, column::2, channel]
    # XYZ to camera: the camera's own colours are those of sRGB, so what it saw is what is wanted.
    matrix = np.linalg.inv([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratios = tuple(number for value in matrix.reshape(-1) for number in (round(value * 10000), 10000))
    sensor = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes([0, 1, 1, 2]), True),
        (50714, "H", 1, 0, True), (50717, "H", 1, 65535, True),
    ]  # fmt: skip
    camera = [
        (271, "s", 0, "EXAMPLE CORPORATION", True), (272, "s", 0, "EXAMPLE D1", True),
        (50706, "B", 4, bytes([1, 4, 0, 0]), True), (50708, "s", 0, "EXAMPLE D1", True),
        (50721, 10, 9, ratios, True), (50728, 5, 3, (1, 1, 1, 1, 1, 1), True), (50778, "H", 1, 21, True),
    ]  # fmt: skip
    thumbnail = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(thumbnail, photometric="rgb", subfiletype=1, subifds=1, extratags=camera, metadata=None)
        file.write(
            (mosaic * 65535).astype(np.uint16), photometric="cfa", subfiletype=0, extratags=sensor, metadata=None
        )
