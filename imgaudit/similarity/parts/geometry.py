"""The geometric leg: local features of two pictures that one flip, scale, small rotation and shift brings together.

SIFT (Lowe 2004) with the square roots of Arandjelovic & Zisserman 2012. Every pair of like features proposes a whole
map by its places, sizes and angles (Philbin et al. 2007, fast spatial verification); the best are fitted to the pairs
that agree with them by OpenCV's RANSAC. Under the map features are counted again, less alike but in their places.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import logsumexp

from imgaudit.similarity.parts.picture import Bytes, Floats, Picture, resize_gray

Singles = npt.NDArray[np.float32]

DETECTION_SIDE = 384
"""Pixels of the longer side at which features are looked for, at most; their places are given at the working size."""

ENLARGED = 4
"""Times that a smaller picture is enlarged for it, at most: there is no more to be seen."""

MOST_FEATURES = 700
"""Features that are kept of a picture, the strongest."""

LIKE = 0.7
"""Inner product of two descriptors from which on they may show the same thing."""

LOOSELY_LIKE = 0.6
"""Inner product from which on a pair counts where a map says that it should lie."""

MOST_LOOSE = 20_000
"""Pairs of loosely like features that are kept, the likest."""

PROPOSALS = 500
"""Pairs that propose a map, the likest."""

REFINED = 4
"""Proposals that are fitted."""

MOST_ROTATION = 30.0
"""Degrees."""

MOST_SCALE = 8.0
"""Largest scale of either picture against the other."""

TOLERANCE = 3.5
"""Pixels, of the picture that is reduced the more, by which an inlier may lie beside its place."""

TURN, GROWTH = 20.0, float(np.log(1.6))
"""Degrees and logarithm of size by which a pair may differ from the map."""

BY_CHANCE = 0.1
"""Share of like features whose turn and size agree with a map by chance, roughly: it scales the score, and the
threshold on the score is measured."""

SURROUNDINGS = 5.0
"""Tolerances around its place in which a feature's chance to be there is counted."""

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
    """Width of the picture, pixels."""
    height: int
    """Height of the picture, pixels."""

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
    """Result of the geometric leg."""

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

    into: Singles
    """(P, 2) places in the target."""
    source: Singles
    """(P, 2) places in the candidate."""
    turn: Singles
    """(P,) degrees from the candidate's feature to the target's, -180 to 180."""
    growth: Singles
    """(P,) logarithm of the sizes' ratio."""

    def __len__(self) -> int:
        return len(self.turn)

    def kept(self, which: npt.NDArray[np.bool_]) -> "Pairs":
        """Return some of them."""
        return Pairs(self.into[which], self.source[which], self.turn[which], self.growth[which])


def find_features(picture: Picture) -> Features:
    """Find features of a picture; none in one that is too thin or too flat."""
    side = min(DETECTION_SIDE, ENLARGED * picture.native)
    gray: Bytes = resize_gray(picture.gray, side)
    factor = max(picture.gray.shape) / side
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
        (np.array([point.pt for point in found], dtype=np.float64) + 0.5) * factor - 0.5,
        np.array([point.angle for point in found], dtype=np.float64),
        np.array([point.size for point in found], dtype=np.float64) * factor,
        np.sqrt(histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-9)),
        picture.width, picture.height,
    )  # fmt: skip


def pair_features(target: Features, candidate: Features) -> tuple[Pairs, Pairs]:
    """Pair features that a small rotation brings together: each of the target with its likest, and all alike ones.

    The first propose maps. The second are recounted under a map: where it says where to look, a feature need not be
    the likest of all.
    """
    if not len(target) or not len(candidate):
        none = Pairs(*(np.zeros(shape, dtype=np.float32) for shape in ((0, 2), (0, 2), 0, 0)))
        return none, none
    like = target.descriptors @ candidate.descriptors.T
    rows, columns = np.nonzero(like >= LOOSELY_LIKE)
    turn = (target.angles[rows] - candidate.angles[columns] + 180) % 360 - 180
    growth = np.log(target.sizes)[rows] - np.log(candidate.sizes)[columns]
    possible = (np.abs(turn) <= MOST_ROTATION + TURN) & (np.abs(growth) <= np.log(MOST_SCALE) + GROWTH)
    rows, columns, turn, growth = rows[possible], columns[possible], turn[possible], growth[possible]
    likeness = like[rows, columns]
    order = np.argsort(-likeness, kind="stable")[:MOST_LOOSE]
    rows, columns, likeness = rows[order], columns[order], likeness[order]
    loose = Pairs(
        *(array.astype(np.float32) for array in (target.points[rows], candidate.points[columns], turn[order],
                                                 growth[order]))
    )  # fmt: skip
    likest = np.zeros(len(rows), dtype=bool)
    likest[np.unique(rows, return_index=True)[1]] = True
    return loose.kept(likest & (likeness >= LIKE)), loose


def fit_map(target: Features, candidate: Features, *, seed: int = 0) -> Geometry:
    """Fit the similarity map that brings most features of the candidate to like ones in the target.

    Every call starts OpenCV's generator anew, so the answer depends on the features alone.
    """
    pairs, loose = pair_features(target, candidate)
    cv2.setRNGSeed(seed)
    best = Geometry(0.0, 0, len(pairs), None, np.zeros((0, 2)))
    for agreeing in _propose_maps(pairs):
        matrix = _refine_map(pairs, agreeing)
        if matrix is None:
            continue
        inliers = _find_inliers(loose, matrix)
        places = count_places(loose.into[inliers], loose.source[inliers])
        if places < FEWEST:
            continue
        score = chance_log10(places, len(pairs), loose, matrix, target, candidate)
        if best.matrix is None or score > best.score:
            hull = cv2.convexHull(loose.into[inliers])[:, 0].astype(np.float64)
            best = Geometry(score, places, len(pairs), matrix, hull)
    return best


def _propose_maps(pairs: Pairs) -> list[npt.NDArray[np.bool_]]:
    """Return the pairs that roughly agree with each of the best proposals: a feature's size and angle are not exact."""
    proposing = np.flatnonzero(np.abs(pairs.turn) <= MOST_ROTATION)[:PROPOSALS]
    turn, growth = pairs.turn[proposing, None], pairs.growth[proposing, None]
    size = np.exp(growth)
    a, b = size * np.cos(np.radians(turn)), size * np.sin(np.radians(turn))
    across, down = (pairs.source[None, :, axis] - pairs.source[proposing, None, axis] for axis in (0, 1))
    off_x = pairs.into[proposing, None, 0] + a * across - b * down - pairs.into[None, :, 0]
    off_y = pairs.into[proposing, None, 1] + b * across + a * down - pairs.into[None, :, 1]
    reach = TOLERANCE * np.maximum(size, 1) + 0.1 * size * np.sqrt(across * across + down * down)
    agreeing = off_x * off_x + off_y * off_y <= reach * reach
    agreeing &= np.abs(pairs.growth - growth) <= GROWTH
    # Turns lie within 50 degrees of none, so that their differences do not wrap around.
    agreeing &= np.abs(pairs.turn - turn) <= TURN
    counts = agreeing.sum(axis=1)
    order = np.argsort(-counts, kind="stable")
    chosen: list[npt.NDArray[np.bool_]] = []
    for row in order:
        if counts[row] < FEWEST or len(chosen) == REFINED:
            break
        if not any((agreeing[row] == other).all() for other in chosen):
            chosen.append(agreeing[row])
    return chosen


def _refine_map(pairs: Pairs, agreeing: npt.NDArray[np.bool_]) -> Floats | None:
    """Fit a map to the pairs, then to all pairs that agree with it; None outside the bounds."""
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
        turn, size = measure_turn_and_scale(fitted)
        if not 1 / MOST_SCALE <= size <= MOST_SCALE or abs(turn) > MOST_ROTATION:
            break
        matrix, reach = fitted, TOLERANCE * max(1.0, size)
        before, agreeing = agreeing, _find_inliers(pairs, matrix)
        if (before == agreeing).all():
            break
    return matrix


def measure_turn_and_scale(matrix: Floats) -> tuple[float, float]:
    """Return degrees and factor of a similarity map (2, 3)."""
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))), float(np.hypot(matrix[0, 0], matrix[1, 0]))


def _find_inliers(pairs: Pairs, matrix: Floats, around: float = 1.0) -> npt.NDArray[np.bool_]:
    """Find pairs that are turned and sized as the map says and that it brings together, to `around` tolerances."""
    turn, size = measure_turn_and_scale(matrix)
    single = matrix.astype(np.float32)
    off = pairs.source @ single[:, :2].T + single[:, 2] - pairs.into
    inside = (off * off).sum(axis=1) <= (around * TOLERANCE * max(1.0, size)) ** 2
    inside &= np.abs(pairs.turn - np.float32(turn)) <= TURN
    inside &= np.abs(pairs.growth - np.float32(np.log(size))) <= GROWTH
    return np.asarray(inside)


def count_places(into: Floats | Singles, source: Floats | Singles) -> int:
    """Count the places that the pairs occupy: the fewer of both pictures, so that many to one counts once.

    >>> count_places(np.array([[0.0, 0.0], [1.0, 1.0], [50.0, 0.0]]), np.array([[0.0, 0.0], [9.0, 9.0], [90.0, 0.0]]))
    2
    """
    return min(len(np.unique(np.floor(points / CELL), axis=0)) if len(points) else 0 for points in (into, source))


def chance_log10(
    places: int, proposals: int, loose: Pairs, matrix: Floats, target: Features, candidate: Features
) -> float:
    """Return -log10 P(chance puts at least that many features into place where both pictures lie).

    Binomial tail as in a-contrario matching (Moisan & Stival 2004), the two places that fix the map left out. Chance is
    that of uniform places, or what the map's surroundings say when that is more: a map that squeezes one picture into
    a busy corner of the other brings many features nearly together, a true one few but those in their places. It orders
    pairs and is no p-value: its threshold comes from unrelated pairs.
    """
    back = cv2.invertAffineTransform(matrix)
    here = _count_within(target.points @ back[:, :2].T + back[:, 2], candidate)
    there = _count_within(candidate.points @ matrix[:, :2].T + matrix[:, 2], target)
    trials = max(min(here, there), places)
    ways = len(loose) / min(len(target), len(candidate))
    reach = TOLERANCE * max(1.0, measure_turn_and_scale(matrix)[1])
    uniform = BY_CHANCE * ways * np.pi * reach**2 / (target.width * target.height)
    ring = int(_find_inliers(loose, matrix, SURROUNDINGS).sum()) - int(_find_inliers(loose, matrix).sum())
    chance = min(0.5, max(uniform, ring / (SURROUNDINGS**2 - 1) / trials))
    tail = float(stats.binom.logsf(places - 3, trials, chance))
    if not np.isfinite(tail):
        # Below the smallest double the tail is summed term by term, on the logarithmic scale.
        tail = float(logsumexp(stats.binom.logpmf(np.arange(places - 2, trials + 1), trials, chance)))
    return max(0.0, -tail / float(np.log(10)) - float(np.log10(max(proposals, 1))))


def _count_within(points: Floats, picture: Features) -> int:
    return int(((points >= 0) & (points <= (picture.width - 1, picture.height - 1))).all(axis=1).sum())
