"""The blind baseline: if targets can be told from controls without the model, a score that does so proves nothing.

A classifier is cross-validated on features that never touch the model. If it succeeds, targets and controls are not
exchangeable: a small p-value then says "other images" and not "trained on" (arXiv 2406.16201 shows how often published
membership tests have this fault).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEAST = 20
"""Targets and controls that cross-validation needs at least; fewer are compared by their distances."""

MOST_COMPARED = 500
"""Controls that few targets are compared with by distance, drawn at random from more."""

PERMUTATIONS = 199
"""Shuffles of the labels. The smallest p-value is 1/200."""

LEAST_BLOCK = 10
"""Shuffles that are fitted and ranked at once, at least: both take several times the memory of the labels."""

BLOCK_LABELS = 1_000_000
"""Labels of as many shuffles as are fitted at once: what a fit costs by itself is much where there are few images."""


def describe_text(text: str) -> dict[str, float]:
    """Measure how a caption is written, without its meaning; captions from the web and generated ones differ in this.

    >>> describe_text("A cat, 2019")["digits"]
    0.36363636363636365
    """
    length, words = max(1, len(text)), text.split()
    return {
        "characters": float(np.log1p(len(text))),
        "words": float(np.log1p(len(words))),
        "word_length": float(np.mean([len(word) for word in words])) if words else 0.0,
        "capitals": sum(c.isupper() for c in text) / length,
        "digits": sum(c.isdigit() for c in text) / length,
        "punctuation": sum(not c.isalnum() and not c.isspace() for c in text) / length,
        "beyond_ascii": sum(ord(c) > 127 for c in text) / length,
    }


class BlindBaseline(NamedTuple):
    """Result of telling targets from controls without the model."""

    auc: float
    """Cross-validated area under the ROC curve, 0 to 1; 0.5 means that they cannot be told apart."""
    p_value: float
    """Permutation p-value of the AUC: 5 % of exchangeable folders have a value of at most 0.05."""
    targets: int
    """Number of targets."""
    controls: int
    """Number of controls."""

    def alarms(self, level: float = 0.05) -> bool:
        """Say whether targets and controls differ at this level."""
        return self.p_value <= level and self.auc > 0.5


class BlindDistance(NamedTuple):
    """Result of comparing a few targets with controls without the model."""

    p_value: float
    """Permutation p-value of the energy distance: 5 % of exchangeable folders have a value of at most 0.05."""
    targets: int
    """Number of targets."""
    controls: int
    """Number of controls."""

    def alarms(self, level: float = 0.05) -> bool:
        """Say whether targets and controls differ at this level."""
        return self.p_value <= level


def _tabulate(
    targets: Sequence[Mapping[str, float]], controls: Sequence[Mapping[str, float]]
) -> npt.NDArray[np.float64]:
    """Return one row per image, of the features that all of them have: banks of older versions can lack some."""
    first = (*targets[:1], *controls[:1])[0]
    names = sorted(name for name in first if all(name in one for one in chain(targets, controls)))
    rows = np.empty((len(targets) + len(controls), len(names)))
    for row, one in zip(rows, chain(targets, controls), strict=True):
        row[:] = [one[name] for name in names]
    return rows


def is_comparable(targets: int, controls: int, level: float = 0.05) -> bool:
    """Say whether a permutation test of so many images can give a p-value of at most the level.

    >>> is_comparable(1, 19), is_comparable(1, 18), is_comparable(3, 3), is_comparable(0, 100)
    (True, False, True, False)
    """
    # Compared as a whole number: of a thousand images and controls no float can hold it.
    return min(targets, controls) > 0 and math.comb(targets + controls, targets) >= 1 / level


def blind_distance(targets: Sequence[Mapping[str, float]], controls: Sequence[Mapping[str, float]]) -> BlindDistance:
    """Compare a few targets with controls by the energy distance of their standardised features.

    The distance is 2 E|x - y| - E|x - x'| - E|y - y'| of targets x and controls y (Szekely & Rizzo 2013), Euclidean
    over the features, each divided by its standard deviation over both. Permutations move the labels, so the p-value
    is valid at any number of images; but few targets show gross differences only.

    targets, controls:  one or more each: features by name; those that all images have are compared
    """
    rows = _tabulate(targets, controls)
    # One seed for every folder would make one folder's luck every folder's.
    shuffle = np.random.default_rng(int.from_bytes(hashlib.sha256(rows.tobytes()).digest()[:4], "big"))
    n = len(targets)
    if len(controls) > MOST_COMPARED:
        drawn = n + np.sort(shuffle.choice(len(controls), MOST_COMPARED, replace=False))
        rows = rows[[*range(n), *drawn]]
    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    labels = np.zeros((PERMUTATIONS + 1, len(rows)))
    labels[0, :n] = 1
    for row in labels[1:]:
        row[shuffle.permutation(len(rows))[:n]] = 1
    distances = cdist(rows, rows)
    m = len(rows) - n
    sums = labels @ distances
    within = (sums * labels).sum(axis=1)
    between = sums.sum(axis=1) - within
    others = distances.sum() - 2 * between - within
    found = 2 * between / (n * m) - within / n**2 - others / m**2
    # Sums of the same distances in another order can differ in their last digits.
    return BlindDistance(float((found >= found[0] - 1e-9).mean()), n, len(controls))


def blind_baseline(
    targets: Sequence[Mapping[str, float]], controls: Sequence[Mapping[str, float]]
) -> BlindBaseline | None:
    """Cross-validate a linear classifier of targets against controls in five folds.

    targets, controls:  features by name; those that all images have are compared
    Returns             None with fewer than 20 targets or controls
    """
    if min(len(targets), len(controls)) < LEAST:
        return None
    rows = _tabulate(targets, controls)
    if not rows.size or not np.ptp(rows, axis=0).any():
        return BlindBaseline(0.5, 1.0, len(targets), len(controls))
    labels = np.array([1.0] * len(targets) + [0.0] * len(controls))
    # Folds and shuffles must not be the same for every folder, or one folder's luck is every folder's.
    seed = int.from_bytes(hashlib.sha256(rows.tobytes()).digest()[:4], "big")
    shuffle = np.random.default_rng(seed)
    folds, sums = list(KFold(5, shuffle=True, random_state=seed).split(rows)), list[npt.NDArray[np.float64]]()
    shuffled = chain([labels], (shuffle.permutation(labels) for _ in range(PERMUTATIONS)))
    block = max(LEAST_BLOCK, BLOCK_LABELS // len(rows))
    # One column per shuffle: ridge regression on labels, which orders images as discriminant analysis does, fits
    # several at once.
    while some := list(islice(shuffled, block)):
        columns = np.stack(some, axis=1)
        classifier, guesses = make_pipeline(StandardScaler(), Ridge(alpha=1.0)), np.empty_like(columns)
        # As `cross_val_predict` does it, which holds every guess three times at its end.
        for train, test in folds:
            guesses[test] = classifier.fit(rows[train], columns[train]).predict(rows[test])
        sums.append((rankdata(guesses, axis=0) * columns).sum(axis=0))
    positives = len(targets)
    areas = (np.concatenate(sums) - positives * (positives + 1) / 2) / (positives * len(controls))
    p_value = float((areas >= areas[0]).mean())
    return BlindBaseline(float(areas[0]), p_value, len(targets), len(controls))
