"""The test of a portfolio as one set: are its works predicted better than controls, though none stands out alone?

A work that was in the training set without copies leaves a trace too faint to be told in one image. Over many works
faint traces add up, and the scores that every image has already show the sum:

- the score;
- the score under the image's own caption, where works and controls have one and captions are written alike.

Works and controls are ranked together by each of these legs, and the statistic is the higher of the two mean ranks of
the works. A permutation exchanges works with controls, with all legs of an image together, so that

    p = (1 + permutations whose statistic is at least as high) / (1 + permutations)

For works that are exchangeable with the controls P(p <= a) is at most a, whatever the scores are and however the legs
depend on each other: the maximum of several statistics needs no further correction (Westfall & Young 1993), and the
statistic itself is counted as one of the permutations (Phipson & Smyth 2010). With one leg this is the rank-sum test
(Wilcoxon 1945; Mann & Whitney 1947). That sets can be told where single members cannot is the idea of dataset
inference (Maini et al. 2021, arXiv 2104.10706) and of CDI (Dubinski et al. 2025, arXiv 2411.12858).

Near copies and series are one work, which is permuted as a whole: its representative, chosen before any score, stands
for it. A mean over the images of a series would vary less than one control, and so not be exchangeable with it.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from imgaudit.decision.caption_score import Captioned, has_caption_scores, score_captions
from imgaudit.decision.null_bank import Complexity, NullBank
from imgaudit.schema.records import Skipped
from imgaudit.schema.set_level import SetLeg, SetLevel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_WORKS = 5
"""Works that make a set. Fewer are what the images' own p-values are for."""

LEAST_CONTROLS = 20
"""Controls that a set is compared with at least."""

PERMUTATIONS = 9_999
"""Permutations drawn; the smallest p-value is 1/10,000."""

RANKS_TOGETHER = 2**18
"""Ranks that are added up at once: what is in memory grows with it."""


class InSet(Captioned, Interface):
    """A work, or a control: whatever has scores."""

    @property
    def log_ratio(self) -> float | Skipped:
        """Score before the effect of complexity is removed; higher = more memorised."""

    @property
    def is_scored(self) -> bool:
        """False where a funnel left the image out after its first look."""


class SetScores(NamedTuple):
    """What a set is compared by of one image: see `InSet`."""

    complexity: float
    log_ratio: float | Skipped
    caption_log_ratio: float | None
    is_scored: bool


def rank_together(values: Floats) -> Ints:
    """Return twice the ranks along the first axis, lowest first, ties with the mean of their ranks.

    These are whole numbers, so neither the order of a sum nor rounding tells two equal sums apart.
    """
    return np.asarray(np.rint(2 * rankdata(values, axis=0)), dtype=np.int64)


def count_permutations(ranks: Ints, works: int, seed: int, permutations: int = PERMUTATIONS) -> Floats:
    """Return the p-values of sets by the higher of the mean ranks of their legs.

    ranks:    (images, sets, legs) of `rank_together`, the works first; all sets share their permutations
    works:    how many of the images are works; the others are controls
    Returns   (sets,) in [1 / (1 + permutations), 1]
    """
    return count_by_legs(ranks, works, seed, (ranks.shape[2],), permutations)[0]


def count_by_legs(
    ranks: Ints, works: int, seed: int, legs: Sequence[int], permutations: int = PERMUTATIONS
) -> list[Floats]:
    """Return the p-values of `count_permutations` by the first of the legs only, for every such number of them.

    All of them share their permutations, which take most of the time to draw.
    """
    draw, images = np.random.default_rng(seed), len(ranks)
    # The sums of works and controls add up to the same for every leg, so that the smaller side is drawn.
    drawn = min(works, images - works)
    whole = ranks[:, :, 0].sum(axis=0)

    def statistics(sums: Ints) -> list[Ints]:
        leading = (sums[..., :count] for count in legs)
        return [one.max(axis=-1) if drawn == works else whole - one.min(axis=-1) for one in leading]

    observed = statistics((ranks[:works] if drawn == works else ranks[works:]).sum(axis=0))
    reached = [np.ones(ranks.shape[1], dtype=np.int64) for _ in legs]
    together = max(1, RANKS_TOGETHER // ranks[:1].size // max(1, drawn))
    for start in range(0, permutations, together):
        count = min(together, permutations - start)
        places = np.array([draw.choice(images, drawn, replace=False, shuffle=False) for _ in range(count)])
        for counted, found, own in zip(reached, statistics(ranks[places].sum(axis=1)), observed, strict=True):
            counted += (found >= own).sum(axis=0)
    return [np.asarray(one / (1 + permutations), dtype=np.float64) for one in reached]


def share_ahead(ranks: Ints, works: int) -> Floats:
    """Return the share of pairs in which a work ranks above a control, ties by half, for every leg.

    ranks:  (images, legs) of `rank_together`, the works first

    >>> share_ahead(rank_together(np.array([[3.0], [1.0], [2.0], [1.0]])), 2).tolist()
    [0.625]
    """
    controls = len(ranks) - works
    wins = ranks[:works].sum(axis=0) / 2 - works * (works + 1) / 2
    return np.asarray(wins / (works * controls), dtype=np.float64)


def compare_set(
    works: Sequence[InSet], bank: NullBank, complexity: Complexity, *, captions: bool, given: int
) -> SetLevel | Skipped:
    """Compare works as one set with the controls of a bank.

    works:     one image of each work
    captions:  False where the captions of works and controls can be told apart without the model
    given:     works that were measured, those that alarms left out included

    Skipped, with the reason, where there are too few of either, or nothing was measured on which to compare them.
    """
    if unscored := sum(not one.is_scored for one in works):
        return Skipped(
            skipped=f"a funnel left {unscored} of {len(works)} works out after a first look, so their scores are not "
            "known: audit without a funnel to have the works compared as a set"
        )
    with_captions = captions and has_caption_scores(bank) and 2 * sum(map(_is_captioned, works)) >= len(works)
    compared = [one for one in works if _is_captioned(one)]
    controls: Sequence[InSet] = [one for one in bank.controls if _is_captioned(one)]
    if not with_captions or describe_few(len(compared), len(controls)):
        with_captions, compared, controls = False, list(works), bank.controls
    if few := describe_few(len(compared), len(controls), given):
        return Skipped(skipped=few)
    legs = _measure_legs([*compared, *controls], bank, complexity, captions=with_captions)
    if not legs:
        return Skipped(skipped="neither scores nor scores under captions are known of all works and controls")
    ranks = _sort_sides(rank_together(np.array(list(legs.values()), dtype=float).T), len(compared))
    seed = _make_seed(ranks)
    p_value = float(count_permutations(ranks[:, None, :], len(compared), seed)[0])
    ahead = dict(zip(legs, share_ahead(ranks, len(compared)).tolist(), strict=True))
    return SetLevel(
        p_value=p_value, works=len(compared), left_out=given - len(compared), controls=len(controls), ahead=ahead,
        permutations=PERMUTATIONS, seed=seed,
    )  # fmt: skip


def describe_few(works: int, controls: int, given: int | None = None) -> str:
    """Say why so few images are not compared as a set; empty where they are enough.

    given:  works that were measured, where alarms left out some of them

    >>> describe_few(4, 100), describe_few(5, 20)
    ('4 works are too few: a set has 5 or more', '')
    >>> describe_few(1, 100, 6)
    'alarms leave 1 of 6 works, and a set has 5 or more'
    """
    if works < LEAST_WORKS <= (given or 0):
        return f"alarms leave {works} of {given} works, and a set has {LEAST_WORKS} or more"
    if works < LEAST_WORKS:
        return f"{works} {'work is' if works == 1 else 'works are'} too few: a set has {LEAST_WORKS} or more"
    if controls < LEAST_CONTROLS:
        return f"{controls} controls that count are too few to compare a set with: {LEAST_CONTROLS} are needed"
    return ""


def _is_captioned(image: InSet) -> bool:
    return image.caption_log_ratio is not None


def _measure_legs(
    images: Sequence[InSet], bank: NullBank, complexity: Complexity, *, captions: bool
) -> dict[SetLeg, list[float]]:
    """Return the values of all images by leg, higher = more memorised; legs that one of them lacks are left out."""
    legs: dict[SetLeg, list[float]] = {}
    scores = [score for one in images if not isinstance(score := bank.score(one, complexity), Skipped)]
    if len(scores) == len(images):
        legs["score"] = scores
    if captions:
        legs["caption"] = score_captions(images, bank, complexity)
    return legs


def _sort_sides(ranks: Ints, works: int) -> Ints:
    """Sort works, and controls after them, by their ranks: the order of files must not change a number."""
    return np.concatenate([side[np.lexsort(side.T)] for side in (ranks[:works], ranks[works:])])


def _make_seed(ranks: Ints) -> int:
    """Return a seed made from the ranks: one seed for all would make one portfolio's luck that of every other."""
    return int.from_bytes(hashlib.sha256(ranks.astype("<i8").tobytes()).digest()[:4], "big")
