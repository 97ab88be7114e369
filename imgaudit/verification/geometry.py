"""The geometric leg: local features of two pictures that one flip, scale, small rotation and shift brings together.

SIFT (Lowe 2004) with the square roots of Arandjelovic & Zisserman 2012. Every pair of like features proposes a whole
map by its places, sizes and angles (Philbin et al. 2007, fast spatial verification); the best are fitted to the pairs
that agree with them by OpenCV's RANSAC.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import logsumexp

from imgaudit.verification.picture import Bytes, Floats, Picture

MOST_FEATURES = 700
"""Features that are kept of a picture, the strongest."""

LIKE = 0.7
"""Inner product of two descriptors from which on they may show the same thing."""

PARTNERS = 1
"""Features of the candidate that are tried for each of the target's: drawings repeat themselves."""

MOST_PAIRS = 1500
"""Pairs of like features that are kept, the likest."""

PROPOSALS = 700
"""Pairs that propose a map, the likest."""

REFINED = 6
"""Proposals that are fitted."""

MOST_ROTATION = 30.0
"""Degrees."""

MOST_SCALE = 8.0
"""Of either picture against the other."""

TOLERANCE = 3.5
"""Pixels, of the picture that is reduced the more, by which an inlier may lie beside its place."""

TURN, GROWTH = 20.0, float(np.log(1.6))
"""Degrees and logarithm of size by which a pair may differ from the map."""

BY_CHANCE = 0.1
"""Share of like features whose turn and size agree with a map by chance, roughly: it scales the score, and the
threshold on the score is measured."""

CELL = 6
"""Inliers in one square of this many pixels count once: one corner answers at several scales."""

FEWEST = 3
"""Places below which there is no map: two points always fit one."""


@dataclass(frozen=True)
class Features:
    """Local features of one picture."""

    points: Floats
    """(K, 2) x and y, pixels at the working size."""
    angles: Floats
    """(K,) degrees."""
    sizes: Floats
    """(K,) diameters, pixels."""
    descriptors: npt.NDArray[np.float32]
    """(K, 128), unit length: square roots of SIFT's histogram."""
    width: int
    """Of the picture, pixels."""
    height: int
    """Of the picture, pixels."""

    def __len__(self) -> int:
        return len(self.points)

    def mirrored(self) -> "Features":
        """Those of the mirror image: a descriptor is 4 x 4 histograms of 8 directions, turned with its feature, so
        a mirror exchanges the rows and the sense of the directions."""
        bins = self.descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8) % 8]
        points = np.column_stack([self.width - 1 - self.points[:, 0], self.points[:, 1]])
        return Features(points, (180 - self.angles) % 360, self.sizes, np.ascontiguousarray(bins.reshape(-1, 128)),
                        self.width, self.height)  # fmt: skip


@dataclass(frozen=True)
class Geometry:
    """What the geometric leg found."""

    score: float
    """-log10 of how likely chance alone puts that many pairs in their places; 0 without a map."""
    inliers: int
    """Distinct places that the map brings together."""
    matches: int
    """Pairs of like features that were tried."""
    matrix: Floats | None
    """(2, 3) map from pixel centres of the candidate to those of the target; None when there is none."""
    hull: Floats
    """(M, 2) convex hull of the inliers in the target, pixels; (0, 2) without a map."""


@dataclass(frozen=True)
class Pairs:
    """Like features of target and candidate, the likest first."""

    into: Floats
    """(P, 2) places in the target."""
    source: Floats
    """(P, 2) places in the candidate."""
    turn: Floats
    """(P,) degrees from the candidate's feature to the target's, -180 to 180."""
    growth: Floats
    """(P,) logarithm of the sizes' ratio."""
    features: int
    """Features that have a partner, of the picture that has fewer of them."""


def find_features(picture: Picture) -> Features:
    """Features of a picture; none of one that is too thin or too flat."""
    gray: Bytes = picture.gray
    found: list[cv2.KeyPoint] = []
    descriptors = None
    if min(gray.shape) >= 16 and int(gray.max()) - int(gray.min()) >= 4:
        sift = cv2.SIFT.create(nfeatures=MOST_FEATURES, contrastThreshold=0.015, edgeThreshold=20)
        keypoints, descriptors = sift.detectAndCompute(gray, None)
        found = list(keypoints)[:MOST_FEATURES]
    if descriptors is None or not found:
        return Features(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros((0, 128), dtype=np.float32),
                        picture.width, picture.height)  # fmt: skip
    histograms = np.asarray(descriptors[:MOST_FEATURES], dtype=np.float32)
    return Features(
        np.array([point.pt for point in found], dtype=np.float64),
        np.array([point.angle for point in found], dtype=np.float64),
        np.array([point.size for point in found], dtype=np.float64),
        np.sqrt(histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-9)),
        picture.width, picture.height,
    )  # fmt: skip


def pair_features(target: Features, candidate: Features) -> Pairs:
    """Every feature of the target with the likest of the candidate that a small rotation can bring onto it."""
    if not len(target) or not len(candidate):
        return Pairs(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0), 0)
    like = target.descriptors @ candidate.descriptors.T
    turn = (target.angles[:, None] - candidate.angles[None] + 180) % 360 - 180
    growth = np.log(target.sizes[:, None] / candidate.sizes[None])
    like[(np.abs(turn) > MOST_ROTATION + TURN) | (np.abs(growth) > np.log(MOST_SCALE) + GROWTH)] = -1
    partners = min(PARTNERS, len(candidate))
    columns = np.argpartition(-like, partners - 1, axis=1)[:, :partners]
    rows = np.repeat(np.arange(len(target)), partners)
    columns = columns.ravel()
    likest = np.lexsort((columns, rows, -like[rows, columns]))[:MOST_PAIRS]
    rows, columns = rows[likest], columns[likest]
    kept = like[rows, columns] >= LIKE
    rows, columns = rows[kept], columns[kept]
    fewer = min(len(np.unique(rows)), len(np.unique(columns)))
    return Pairs(target.points[rows], candidate.points[columns], turn[rows, columns], growth[rows, columns], fewer)


def fit(target: Features, candidate: Features, *, seed: int = 0) -> Geometry:
    """The similarity map that brings most features of the candidate to like ones in the target.

    Every call starts OpenCV's generator anew, so the answer depends on the features alone.
    """
    pairs = pair_features(target, candidate)
    cv2.setRNGSeed(seed)
    best: tuple[int, Floats | None, npt.NDArray[np.bool_]] = (0, None, np.zeros(len(pairs.turn), dtype=bool))
    for agreeing in _proposals(pairs):
        matrix = _refined(pairs, agreeing)
        if matrix is None:
            continue
        inliers = _inliers(pairs, matrix)
        places = distinct(pairs.into[inliers], pairs.source[inliers])
        if places > best[0]:
            best = (places, matrix, inliers)
    places, matrix, inliers = best
    if matrix is None or places < FEWEST:
        return Geometry(0.0, 0, len(pairs.turn), None, np.zeros((0, 2)))
    hull = cv2.convexHull(pairs.into[inliers].astype(np.float32))[:, 0].astype(np.float64)
    return Geometry(surprise(places, pairs, matrix, target), places, len(pairs.turn), matrix, hull)


def _proposals(pairs: Pairs) -> list[npt.NDArray[np.bool_]]:
    """Pairs that agree with each of the best proposals, roughly: one feature's size and angle are not exact."""
    angle, size = np.radians(pairs.turn[:PROPOSALS]), np.exp(pairs.growth[:PROPOSALS])
    a, b = size * np.cos(angle), size * np.sin(angle)
    x, y = pairs.source[None, :, 0], pairs.source[None, :, 1]
    x0, y0 = pairs.source[:PROPOSALS, None, 0], pairs.source[:PROPOSALS, None, 1]
    across, down = x - x0, y - y0
    off_x = pairs.into[:PROPOSALS, None, 0] + a[:, None] * across - b[:, None] * down - pairs.into[None, :, 0]
    off_y = pairs.into[:PROPOSALS, None, 1] + b[:, None] * across + a[:, None] * down - pairs.into[None, :, 1]
    reach = TOLERANCE * np.maximum(size, 1)[:, None] + 0.1 * size[:, None] * np.hypot(across, down)
    agreeing = np.hypot(off_x, off_y) <= reach
    agreeing &= _alike(pairs, pairs.turn[:PROPOSALS, None], pairs.growth[:PROPOSALS, None])
    agreeing &= (np.abs(pairs.turn[:PROPOSALS]) <= MOST_ROTATION)[:, None]
    counts = agreeing.sum(axis=1)
    order = np.argsort(-counts, kind="stable")
    return [agreeing[row] for row in order[:REFINED] if counts[row] >= FEWEST]


def _alike(pairs: Pairs, turn: Floats | float, growth: Floats | float) -> npt.NDArray[np.bool_]:
    turned = np.abs((pairs.turn - turn + 180) % 360 - 180)
    return np.asarray((turned <= TURN) & (np.abs(pairs.growth - growth) <= GROWTH))


def _refined(pairs: Pairs, agreeing: npt.NDArray[np.bool_]) -> Floats | None:
    """A map fitted to the pairs, then to all pairs that agree with it; None outside the bounds."""
    matrix: Floats | None = None
    reach = TOLERANCE * max(1.0, float(np.exp(np.median(pairs.growth[agreeing]))))
    for _ in range(3):
        if agreeing.sum() < FEWEST:
            break
        found, _flags = cv2.estimateAffinePartial2D(
            pairs.source[agreeing], pairs.into[agreeing], method=cv2.RANSAC, ransacReprojThreshold=reach,
            maxIters=500, confidence=0.99,
        )  # fmt: skip
        if found is None or not np.isfinite(found).all():
            break
        fitted = np.asarray(found, dtype=np.float64)
        turn, size = turn_and_scale(fitted)
        if not 1 / MOST_SCALE <= size <= MOST_SCALE or abs(turn) > MOST_ROTATION:
            break
        matrix, reach = fitted, TOLERANCE * max(1.0, size)
        agreeing = _inliers(pairs, matrix)
    return matrix


def turn_and_scale(matrix: Floats) -> tuple[float, float]:
    """Degrees and factor of a similarity map (2, 3)."""
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))), float(np.hypot(matrix[0, 0], matrix[1, 0]))


def _inliers(pairs: Pairs, matrix: Floats) -> npt.NDArray[np.bool_]:
    turn, size = turn_and_scale(matrix)
    off = pairs.source @ matrix[:, :2].T + matrix[:, 2] - pairs.into
    return (np.hypot(off[:, 0], off[:, 1]) <= TOLERANCE * max(1.0, size)) & _alike(pairs, turn, float(np.log(size)))


def distinct(into: Floats, source: Floats) -> int:
    """How many places the pairs occupy: the fewer of both pictures, so that many to one counts once.

    >>> distinct(np.array([[0.0, 0.0], [1.0, 1.0], [50.0, 0.0]]), np.array([[0.0, 0.0], [9.0, 9.0], [90.0, 0.0]]))
    2
    """
    return min(len(np.unique(np.floor(points / CELL), axis=0)) if len(points) else 0 for points in (into, source))


def surprise(places: int, pairs: Pairs, matrix: Floats, target: Features) -> float:
    """-log10 P(at least that many of the features with a partner fall into place), places being uniform.

    Binomial tail as in a-contrario matching (Moisan & Stival 2004), the two places that fix the map left out. Features
    of drawings are not uniform, so it orders pairs and is no p-value: its threshold comes from unrelated pairs.
    """
    ways = len(pairs.turn) / max(pairs.features, 1)
    reach = TOLERANCE * max(1.0, turn_and_scale(matrix)[1])
    chance = min(0.5, BY_CHANCE * ways * np.pi * reach**2 / (target.width * target.height))
    trials = max(pairs.features, places)
    tail = float(stats.binom.logsf(places - 3, trials, chance))
    if not np.isfinite(tail):
        # Below the smallest double the tail is summed term by term, on the logarithmic scale.
        tail = float(logsumexp(stats.binom.logpmf(np.arange(places - 2, trials + 1), trials, chance)))
    return max(0.0, -tail / float(np.log(10)) - float(np.log10(max(len(pairs.turn), 1))))
