"""The photometric leg: one picture laid over the other by a map, and compared patch by patch.

Normalised cross-correlation of local windows does not see brightness and contrast. A window without texture agrees
with nothing: flat colour is no evidence, and joins a region only between windows that are.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from imgaudit.similarity.parts.picture import WORKING_SIDE, Floats, Mask, Picture, resize_gray, scale_map

SIDE = 320
"""Pixels of the target's longer side on which patches are compared."""

WINDOW = 11
"""Side of a patch, pixels."""

TEXTURE = 6.0
"""Standard deviation, of 255, from which on a window has texture."""

CORNER = 1e-3
"""Smaller eigenvalue of the gradients' matrix from which on a window has two directions."""

AGREES = 0.8
"""Correlation from which on a window agrees."""

SOLID = 0.6
"""Share of the textured windows around a place that must agree for it to be in the region."""

SAME_COLOUR = 24.0
"""Difference of the means of two flat windows, of 255, up to which they may lie in one region."""

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Result of the photometric leg under one map."""

    score: float
    """Textured windows that agree, in solid company, as a count of windows that do not overlap."""
    share: float
    """Share of the textured area inside the region, where both pictures are, that agrees."""
    region: Mask
    """(h, w) at SIDE: where the pictures agree, in the target."""
    matrix: Floats
    """The (2, 3) map that was used, between pixel centres at the working sizes."""


def measure_agreement(target: Picture, candidate: Picture, matrix: Floats) -> Agreement:
    """Compare the target with the candidate under a map of pixel centres from the candidate to the target."""
    own, laid, covered = _lay_over(target, candidate, matrix)
    correlation, textured, means = _correlate(own, laid, covered)
    agrees = textured & (correlation >= AGREES)
    cornered = _find_corners(own) & _find_corners(laid)
    around = 2 * WINDOW + 1
    share = _box(agrees.astype(np.float32), around) / np.maximum(_box(textured.astype(np.float32), around), 1e-6)
    dense = (agrees & (share >= SOLID)).astype(np.uint8)
    solid = cv2.morphologyEx(dense, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)
    region = _grow_region(solid, textured, correlation, means, covered)
    inside = textured & region
    return Agreement(
        float((solid & cornered).sum()) / WINDOW**2,
        float(agrees[inside].mean()) if inside.any() else 0.0,
        region,
        matrix,
    )


def _lay_over(target: Picture, candidate: Picture, matrix: Floats) -> tuple[Plane, Plane, Mask]:
    """Return the target at SIDE, the candidate laid over it, and where it lies; both equally sharp."""
    own = resize_gray(target.gray, SIDE)
    into = SIDE / WORKING_SIDE
    size = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    source = min(1.0, max(size * into, 1 / 64))
    other = candidate.gray
    if source < 1:
        shape = (max(1, round(candidate.width * source)), max(1, round(candidate.height * source)))
        other = np.asarray(cv2.resize(other, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scaled = scale_map(matrix, into, source)
    height, width = own.shape
    laid = cv2.warpAffine(other, scaled, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(np.ones_like(other), scaled, (width, height), flags=cv2.INTER_NEAREST) > 0
    blur = max(1.0, 0.6 * size * into)
    smooth = [cv2.GaussianBlur(plane.astype(np.float32), (0, 0), sigma) for plane, sigma in ((own, blur), (laid, 1.0))]
    return np.asarray(smooth[0]), np.asarray(smooth[1]), covered


def _box(plane: Plane, side: int) -> Plane:
    return np.asarray(cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def _correlate(own: Plane, laid: Plane, covered: Mask) -> tuple[Plane, Mask, Plane]:
    """Return windows' best correlation over shifts of a pixel, where both have texture, and the difference of means."""
    mean = _box(own, WINDOW)
    spread = np.sqrt(np.maximum(_box(own * own, WINDOW) - mean * mean, 0))
    best = np.full(own.shape, -1.0, dtype=np.float32)
    mean_laid = _box(laid, WINDOW)
    spread_laid = np.sqrt(np.maximum(_box(laid * laid, WINDOW) - mean_laid * mean_laid, 0))
    # Moved by a pixel, what leaves one side comes in at the other.
    around = [np.pad(plane, 1, mode="wrap") for plane in (laid, mean_laid, spread_laid)]
    height, width = own.shape
    for y in range(3):
        for x in range(3):
            moved, its_mean, its_spread = (plane[y : y + height, x : x + width] for plane in around)
            together = _box(own * moved, WINDOW) - mean * its_mean
            np.maximum(best, together / np.maximum(spread * its_spread, 1.0), out=best)
    # A window in which either has texture can disagree; one in which only one has it does.
    textured = (np.maximum(spread, spread_laid) >= TEXTURE) & covered
    best[np.minimum(spread, spread_laid) < TEXTURE / 2] = -1.0
    return best, textured, mean_laid - mean


def _find_corners(plane: Plane) -> Mask:
    """Mark windows whose gradients have two directions (Shi & Tomasi 1994): a straight edge looks like any other."""
    return np.asarray(cv2.cornerMinEigenVal(plane / 255, WINDOW, ksize=3) >= CORNER)


def _grow_region(solid: Mask, textured: Mask, correlation: Plane, means: Plane, covered: Mask) -> Mask:
    """Return what agrees, and the flat places between: of the same colour, inside the box around all that agrees."""
    if not solid.any():
        return solid
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    reach = WINDOW // 2
    framed = np.zeros_like(solid)
    framed[max(0, rows[0] - reach) : rows[-1] + 1 + reach, max(0, columns[0] - reach) : columns[-1] + 1 + reach] = True
    offset = float(np.median(means[solid]))
    flat = ~textured & (np.abs(means - offset) <= SAME_COLOUR)
    grown = (solid | flat | (textured & (correlation >= SOLID))) & framed & covered
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WINDOW, WINDOW))
    closed = cv2.morphologyEx(grown.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel).astype(bool) & covered
    count, labels = cv2.connectedComponents(opened.astype(np.uint8))
    holding = [label for label in range(1, count) if (solid & (labels == label)).any()]
    return np.asarray(np.isin(labels, holding) if holding else solid)
