"""Portfolios drawn from a score table, and what the audit's rule says of each: the arithmetic of realised errors.

What is known of one image before the folder is known is computed once for each bank, with the audit's own test; many
portfolios are then decided together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from imgaudit.benchmark.verdicts.images import INVERTED, TEXT, Flags, Floats, Images, Places
from imgaudit.decision.joint_test import INVERTED_WEIGHT, JointNull
from imgaudit.decision.null_bank import KEEP_OUT_FROM
from imgaudit.schema.funnel import FunnelConfig
from imgaudit.schema.policy import Policy
from imgaudit.statistics import LinearFit, clopper_pearson, conformal_p_values, exceedance_threshold, fit_line

LEVELS = (0.05, 0.10)
"""False discovery rates that are asked for."""

MEMORISED, NEVER_TRAINED = 10, 40
"""Images of a portfolio."""

KEPT_OUT, BANK = KEEP_OUT_FROM, 240
"""Controls of a bank that fit the line and check the rule, and those that count."""


@dataclass(frozen=True)
class Bank:
    """Controls that images are judged by."""

    kept_out: Images
    """They fit the score on complexity."""
    controls: Images
    """They count in p-values and thresholds."""
    searched: bool = False
    """True when scores were searched among sums of texts."""

    def rank(self, controls: Floats, images: Floats, rungs: Sequence[int], scores: int) -> Floats:
        """Return the p-values of images by the audit's test, from what `_legs` measures; `scores` legs are scores."""
        weight = INVERTED_WEIGHT if self.searched else 1.0
        by_rung = [weight if rung == INVERTED else 1.0 for rung in rungs for _ in range(2)]
        return JointNull(controls, (*[1.0] * scores, *by_rung)).p_values(images)

    @property
    def captioned(self) -> bool:
        """True when its controls were asked with captions."""
        return bool((self.controls.scored[:, TEXT] > 0).all())

    @cached_property
    def line(self) -> LinearFit:
        """The line of score on complexity."""
        return fit_line(self.kept_out.complexities.tolist(), self.kept_out.log_ratios.tolist())

    def score(self, images: Images) -> Floats:
        """Return the scores of images, adjusted for complexity."""
        line = self.line
        return images.log_ratios - line.intercept - line.slope * images.complexities

    @property
    def scored_captions(self) -> bool:
        """True when its controls have a score under their captions."""
        return bool(np.isfinite(self.controls.caption_log_ratios).all())

    @cached_property
    def caption_line(self) -> LinearFit:
        """The line of the score under the caption on complexity."""
        known = self.kept_out.at(np.flatnonzero(np.isfinite(self.kept_out.caption_log_ratios)))
        return fit_line(known.complexities.tolist(), known.caption_log_ratios.tolist())

    def score_captions(self, images: Images) -> Floats:
        """Return the scores of images under their captions, adjusted for complexity; -inf for one without."""
        line = self.caption_line
        scores = images.caption_log_ratios - line.intercept - line.slope * images.complexities
        return np.asarray(np.nan_to_num(scores, nan=-np.inf), dtype=float)

    def looks_on(self, images: Images, funnel: FunnelConfig, *, captions: bool) -> Flags:
        """Tell which images are scored after a funnel's first look: all where it has none.

        captions:  whether images are looked at under their captions too, which all of them have
        """
        if funnel.first_look is None:
            return np.ones(len(images), dtype=bool)
        looked = replace(self, kept_out=_as_scores(self.kept_out))
        return looked._is_high(_as_scores(images), funnel.first_look.share, captions=captions)

    def asks(self, images: Images, funnel: FunnelConfig, *, captions: bool) -> Flags:
        """Tell which images a funnel asks in all ways, as `place_funnel` has it."""
        looked = self.looks_on(images, funnel, captions=captions)
        return looked & self._is_high(images, funnel.share, captions=captions)

    def _is_high(self, images: Images, share: float, *, captions: bool) -> Flags:
        each = share / 2 if captions else share
        high = self.score(images) > exceedance_threshold(self.score(self.kept_out), each)
        if captions:
            bound = exceedance_threshold(self.score_captions(self.kept_out), each)
            high = high | (self.score_captions(images) > bound)
        return np.asarray(high, dtype=bool)

    def thresholds(self, level: float) -> tuple[float, float]:
        """Return the copy thresholds, as `NullBank.thresholds` does: similarity and distance."""
        best, closest = self.controls.best, self.controls.closest
        used = [rung for rung in (TEXT, INVERTED) if np.isfinite(best[:, rung]).all()]
        similarity = [exceedance_threshold(best[:, rung], level) for rung in used]
        distance = [-exceedance_threshold(-closest[:, rung], level) for rung in used]
        return max(similarity), min(distance)


def _as_scores(images: Images) -> Images:
    """Return images whose first looks stand in place of their scores."""
    return replace(images, log_ratios=images.looks, caption_log_ratios=images.caption_looks)


@dataclass(frozen=True)
class Judged:
    """What is known of images before a folder is: one element per image in each array."""

    p_values: Floats
    """p-value of the image's test; 1 where an alarm took it away."""
    claimed: Flags
    """True where a copy would stand if the image stands out."""
    text_p_values: Floats
    """p-value of coincidence for its text; 1 without one."""
    returned: Flags
    """True where at least half of the images for its text are near-identical to it."""

    def at(self, places: Places) -> "Judged":
        """Return images at places, of any shape."""
        return Judged(*(getattr(self, field.name)[places] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence["Judged"]) -> "Judged":
        """Join portfolios from several groups along the last axis."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts], axis=-1) for f in fields(cls)))


def _legs(images: Images, scores: Floats | None, rungs: Sequence[int], captions: Floats | None = None) -> Floats:
    """Return what the audit's test ranks: (images, legs, 1), the numbers of `imgaudit.decision.joint_test`."""
    shares = images.near_identical / np.maximum(1, images.scored)
    legs = [one for one in (scores, captions) if one is not None]
    legs += [column for rung in rungs for column in (images.means[:, rung], shares[:, rung])]
    return np.column_stack(legs)[:, :, None]


def rank_through_funnel(images: Images, bank: Bank, funnel: FunnelConfig, *, captions: bool) -> Floats:
    """Return p-values where images with ordinary scores are not asked further, and controls are treated alike."""
    rungs, legs = [TEXT, INVERTED] if captions else [INVERTED], []
    for one in (bank.controls, images):
        scores = [bank.score(one), *([bank.score_captions(one)] if captions else [])]
        own = _legs(one, scores[0], rungs, scores[1] if captions else None)
        own[~bank.asks(one, funnel, captions=captions), len(scores) :] = -np.inf
        own[~bank.looks_on(one, funnel, captions=captions)] = -np.inf
        legs.append(own)
    return bank.rank(legs[0], legs[1], rungs, 1 + captions)


def rank_images(images: Images, bank: Bank, *, captions: bool) -> Floats:
    """Return the p-values of images against a bank, with their captions or as if these were withheld.

    Captions that the bank does not have are compared with its embeddings, as `JointTest.p_value` does.
    """
    asked = captions & (images.scored[:, TEXT] > 0)
    if not captions or not bank.captioned:
        p_values = _rank_alike(images, bank, [INVERTED])
        if not asked.any():
            return p_values
        texts = bank.rank(_legs(bank.controls, None, [INVERTED]), _legs(images, None, [TEXT]), [TEXT], 0)
        return np.where(asked, np.minimum(1.0, 2 * np.minimum(p_values, texts)), p_values)
    scored = asked & (np.isfinite(bank.score_captions(images)) if bank.scored_captions else False)
    p_values = np.empty(len(images))
    for alike, rungs, by_caption in (
        (~asked, [INVERTED], False), (asked & ~scored, [TEXT, INVERTED], False), (scored, [TEXT, INVERTED], True),
    ):  # fmt: skip
        if alike.any():
            p_values[alike] = _rank_alike(images.at(np.flatnonzero(alike)), bank, rungs, by_caption=by_caption)
    return p_values


def _rank_alike(images: Images, bank: Bank, rungs: Sequence[int], *, by_caption: bool = False) -> Floats:
    """Return the p-values of images that are all compared by the same legs."""
    own, controls = (
        _legs(one, bank.score(one), rungs, bank.score_captions(one) if by_caption else None)
        for one in (images, bank.controls)
    )
    return bank.rank(controls, own, rungs, 1 + by_caption)


def judge(images: Images, bank: Bank, policy: Policy, *, captions: bool, p_values: Floats | None = None) -> Judged:
    """Put images to a bank, with their captions or as if these were withheld.

    p_values:  of `rank_images`, where they are known already: they are the same at every level
    """
    p_values = rank_images(images, bank, captions=captions) if p_values is None else p_values
    claimed = judge_inverted(images, bank, policy)
    return Judged(
        p_values=np.where(images.taken, 1.0, p_values),
        claimed=claimed | judge_texts(images, bank, policy) if captions else claimed,
        text_p_values=images.coincidence if captions else np.ones(len(images)),
        returned=images.mostly_near_identical[:, TEXT] & captions,
    )


def judge_texts(images: Images, bank: Bank, policy: Policy) -> Flags:
    """Tell which captions give copies that are closer than all but a share of the controls' and than coincidence."""
    near = conformal_p_values(images.best[:, TEXT], bank.controls.best[:, TEXT if bank.captioned else INVERTED])
    hits = images.count(*bank.thresholds(policy.copy_level))[:, TEXT]
    return np.asarray((hits > 0) & (np.maximum(near, images.coincidence) <= policy.level + 1e-12), dtype=bool)


def judge_inverted(images: Images, bank: Bank, policy: Policy) -> Flags:
    """Tell which embeddings give copies more often than the controls', and closer than all but a share of theirs."""
    thresholds, controls = bank.thresholds(policy.copy_level), bank.controls
    hits, scored = images.count(*thresholds)[:, INVERTED], images.scored[:, INVERTED]
    near = conformal_p_values(images.best[:, INVERTED], controls.best[:, INVERTED])
    rates = (controls.count(*thresholds) / np.maximum(1, controls.scored))[:, INVERTED]
    low = np.array([clopper_pearson(*pair).low for pair in zip(hits.tolist(), scored.tolist(), strict=True)])
    return np.asarray((hits > 0) & (near <= policy.level + 1e-12) & (low > rates.mean()), dtype=bool)


def judge_through_funnel(images: Images, bank: Bank, policy: Policy, funnel: FunnelConfig, *, captions: bool) -> Judged:
    """Put images to a bank where those with an ordinary score are not asked further."""
    p_values = rank_through_funnel(images, bank, funnel, captions=captions)
    judged = judge(images, bank, policy, captions=captions, p_values=p_values)
    asked = bank.asks(images, funnel, captions=captions)
    return Judged(
        judged.p_values, judged.claimed & asked, np.where(asked, judged.text_p_values, 1.0), judged.returned & asked
    )


@dataclass(frozen=True)
class Claims:
    """What the rule claims of images, portfolios in rows: each array has their shape."""

    findings: Flags
    """Any finding against the model: replicated, by inversion, or unlike the controls."""
    copies: Flags
    """The verdict is `replicated` or `replicated_by_inversion`."""


def decide_portfolios(images: Judged, level: float) -> Claims:
    """Decide portfolios: Benjamini-Hochberg over the last axis, and the claim that needs no controls.

    images:  arrays of shape (portfolios, images)
    """
    stands_out = select_discoveries(images.p_values, level)
    absolute = images.returned
    if absolute.any():
        absolute = absolute & select_discoveries(images.text_p_values, level)
    return Claims(stands_out | absolute, (stands_out & images.claimed) | absolute)


def select_discoveries(p_values: Floats, level: float) -> Flags:
    """Tell which p-values are discoveries within their row, by Benjamini-Hochberg.

    >>> select_discoveries(np.array([[0.01, 0.02, 0.9], [0.04, 0.9, 0.9]]), 0.05).tolist()
    [[True, True, False], [False, False, False]]
    """
    ordered, count = np.sort(p_values, axis=-1), p_values.shape[-1]
    # The largest p-value that passes at its rank is the cutoff: no rank has to be given back to its image.
    passing = ordered * (count / np.arange(1, count + 1)) <= level + 1e-12
    cutoff = np.where(passing, ordered, -np.inf).max(axis=-1, keepdims=True, initial=-np.inf)
    return np.asarray(p_values <= cutoff, dtype=bool)


def false_discovery_proportions(claims: Flags, never_trained: int) -> Floats:
    """Return, per portfolio, the share of claimed images that were never trained on; 0 where nothing is claimed.

    never_trained:  how many images at the end of each row were never trained on
    """
    false = claims[..., claims.shape[-1] - never_trained :].sum(axis=-1)
    return np.asarray(false / np.maximum(1, claims.sum(axis=-1)), dtype=float)


def choose(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    """Return places of memorised images, portfolios in rows; none where there are none."""
    return draw.choice(pool, (portfolios, MEMORISED)) if len(pool) else np.empty((portfolios, 0), dtype=np.int64)


def join_portfolios(memorised: Judged, never_trained: Judged, chosen: Places, drawn: Places) -> Judged:
    """Return portfolios whose first images are memorised and whose last were never trained on.

    chosen, drawn:  places in `memorised` and `never_trained`, portfolios in rows
    """
    parts = [never_trained.at(drawn)]
    if chosen.shape[1]:
        parts.insert(0, memorised.at(chosen))
    return Judged.concatenate(parts)


@dataclass(frozen=True)
class Split:
    """One random division of never-trained images into a bank and images to judge."""

    bank: Bank
    """The bank."""
    places: npt.NDArray[np.int64]
    """Places of the images to judge, repeated where a bootstrap sample repeats them."""


def group_families(families: Sequence[str]) -> list[Places]:
    """Return the places of every family's images, families by name.

    >>> [places.tolist() for places in group_families(["b", "a", "b"])]
    [[1], [0, 2]]
    """
    members: dict[str, list[int]] = {}
    for place, family in enumerate(families):
        members.setdefault(family, []).append(place)
    return [np.array(members[name], dtype=np.int64) for name in sorted(members)]


def split_pool(
    pool: Images, families: Sequence[Places], draw: np.random.Generator, *, bootstrap: bool = False, searched: bool
) -> Split:
    """Divide images into a bank of 80 + 240 and the rest; whole families fall on one side.

    families:   of `group_families`
    searched:   as `Bank` has it
    bootstrap:  draw families with replacement first; all of a family's copies fall on one side, so that no image is
                judged by itself

    With fewer images than a bank and as many to judge take, both shrink by the same factor.
    """
    order = draw.permutation(len(families))
    if bootstrap:
        counts = np.bincount(draw.integers(len(families), size=len(families)), minlength=len(families))
        order = np.repeat(order, counts[order])
    shuffled = np.concatenate([families[number] for number in order])
    share = min(1.0, len(shuffled) / (KEPT_OUT + BANK + NEVER_TRAINED))
    kept, bank = round(KEPT_OUT * share), round((KEPT_OUT + BANK) * share)
    # The copies of the family that lies across the border are judged by no copy of themselves.
    in_bank = np.zeros(len(pool), dtype=bool)
    in_bank[shuffled[:bank]] = True
    places = shuffled[bank:]
    first, second = shuffled[:kept], shuffled[kept:bank]
    return Split(Bank(pool.at(first), pool.at(second), searched), places[~in_bank[places]])
