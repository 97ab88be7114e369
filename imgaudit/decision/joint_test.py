"""The test of one image: its score, its copies and its parts together give it one rank among the controls.

Every image, target or control, is measured by the same legs, each a number that is higher for a memorised image:

- the score;
- the score under the image's own caption, where image and controls have one (`imgaudit.decision.caption_score`);
- for every rung, the mean similarity of its generated images, and the share of them that is near-identical to the image
  by an absolute standard (`imgaudit.decision.copy_thresholds`);
- for every rung, the mean similarity by the copy descriptor, where targets and controls have the same one;
- for every rung compared in parts, the closest comparison: the worse of its geometric and photometric ranks counts.

Each leg ranks the image among the controls and itself, 1 being the highest; ties count as the worst of their ranks. An
image's strength is the sum of 1 / rank over its legs, so one strong leg speaks for itself: a model's owner who spoils
one does not silence the others. Where the score is searched among sums of texts, which is so on models whose inversion
hardly ever brings an image back, what the embedding gave counts for a quarter: else its chance ranks would outvote the
score. The p-value is conformal: (1 + controls at least as strong) / (1 + controls). For an image exchangeable with the
controls the probability of p <= a is at most a (Vovk et al. 2005), because image and controls are ranked together. Sums
of reciprocal ranks follow the harmonic mean p-value (Wilson 2019, PNAS 116:1195), whose null distribution is not needed
here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from math import ceil, fsum, inf

import numpy as np
import numpy.typing as npt

from imgaudit.decision.caption_score import has_caption_scores, score_captions
from imgaudit.decision.controls import Control, ControlSeed
from imgaudit.decision.copy_thresholds import ABSOLUTE_STANDARD
from imgaudit.decision.funnel import Funnel
from imgaudit.decision.null_bank import NullBank
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import DECIDING_RUNGS, TEXT_RUNGS, Rung, Skipped

Floats = npt.NDArray[np.float64]

INVERTED_WEIGHT = 0.25
"""Weight of what the embedding gave, where the score is searched among sums of texts. Chosen by reasoning, not by
trials: a control that is first on both of its legs is then as strong as one that is second by its score."""

CHUNK = 64
"""Images ranked at once: what is in memory grows with it times the controls."""


def share_near_identical(seeds: Sequence[ControlSeed]) -> float:
    """Return the share of generated images that is near-identical to the target, 0 to 1; 0 without any."""
    near = sum(ABSOLUTE_STANDARD.is_copy(seed.similarity, seed.distance) for seed in seeds)
    return near / max(1, len(seeds))


@dataclass(frozen=True)
class Design:
    """The legs by which one image is compared with its controls."""

    score: bool
    """True when image and controls have a score."""
    rungs: tuple[Rung, ...]
    """Rungs on which the controls were asked with as many texts as the image."""
    parts: tuple[Rung, ...]
    """Those of these rungs whose generated images were compared in parts."""
    descriptor: tuple[Rung, ...] = ()
    """Those of these rungs whose generated images were compared by the copy descriptor."""
    pixels: bool = True
    """False where the copy descriptor alone compares generated images."""
    caption: bool = False
    """True when images have a score under their caption, and it may be compared."""
    captioned: bool = False
    """True when the image has a score under its caption, by which a funnel may have let it through."""

    def weigh(self, inverted: float = 1.0) -> tuple[float, ...]:
        """Return the weight of every leg, in their order.

        inverted:  of what the embedding gave
        """

        def weights(rungs: Sequence[Rung]) -> list[float]:
            return [inverted if rung is Rung.EMBEDDING else 1.0 for rung in rungs]

        # The generated images of a rung have two legs.
        by_pixels = [one for one in weights(self.rungs) for _ in range(2)] if self.pixels else []
        return (
            *[1.0] * self.score, *by_pixels, *weights(self.descriptor), *weights(self.parts), *[1.0] * self.caption
        )  # fmt: skip


def measure_legs(
    images: Sequence[Control], scores: Sequence[float | Skipped], design: Design, captions: Sequence[float] = ()
) -> Floats:
    """Measure images by the legs of a design: (images, legs, 2), higher = more memorised, -inf where one is lacking.

    Legs with one value have it twice. Scores belong to the images, one each, and so do those under captions where the
    design has that leg.
    """
    rows = [_measure_image(image, score, design) for image, score in zip(images, scores, strict=True)]
    by_pixels = 2 * len(design.rungs) * design.pixels
    legs = int(design.score) + by_pixels + len(design.descriptor) + len(design.parts)
    measured = np.array(rows, dtype=float).reshape(len(images), legs, 2)
    if not design.caption:
        return measured
    own = np.array(captions, dtype=float).reshape(len(images), 1, 1).repeat(2, axis=2)
    return np.concatenate([measured, own], axis=1)


def mean_similarity(seeds: Sequence[ControlSeed]) -> float:
    """Return the mean similarity of generated images, higher = closer; -inf without any."""
    return fsum(seed.similarity for seed in seeds) / len(seeds) if seeds else -inf


def mean_copy_similarity(seeds: Sequence[ControlSeed]) -> float:
    """Return the mean similarity of generated images by the copy descriptor, higher = closer; -inf without any."""
    known = [seed.copy_similarity for seed in seeds if seed.copy_similarity is not None]
    return fsum(known) / len(known) if known else -inf


def _measure_image(image: Control, score: float | Skipped, design: Design) -> list[tuple[float, float]]:
    legs: list[tuple[float, float]] = []
    if design.score:
        value = -inf if isinstance(score, Skipped) else score
        legs.append((value, value))
    for rung in design.rungs if design.pixels else ():
        legs += _measure_answers(image.leading(rung))
    for rung in design.descriptor:
        value = mean_copy_similarity(image.leading(rung))
        legs.append((value, value))
    for rung in design.parts:
        closest = image.closest_part(rung)
        legs.append((-inf, -inf) if closest is None else (closest.geometric, closest.photometric))
    return legs


def _measure_answers(seeds: Sequence[ControlSeed]) -> list[tuple[float, float]]:
    """Return the two legs of a rung's generated images, each twice."""
    return [(value, value) for value in (mean_similarity(seeds), share_near_identical(seeds))]


@dataclass(frozen=True)
class JointNull:
    """The legs of controls, among which images are ranked."""

    legs: Floats
    """(controls, legs, values): of the values of one leg the worst rank counts."""
    weights: tuple[float, ...] | None = None
    """Weight of each leg; None for equal ones."""

    @cached_property
    def _sorted(self) -> Floats:
        return np.sort(self.legs, axis=0)

    @cached_property
    def _reached(self) -> npt.NDArray[np.int64]:
        """(controls, legs, values): how many controls have at least a control's value."""
        return _count_reaching(self._sorted, self.legs)

    def p_values(self, images: Floats) -> Floats:
        """Return the conformal p-value of every image: (1 + controls at least as strong) / (1 + controls).

        images:  (images, legs, values)

        >>> JointNull(np.array([[[1.0]], [[2.0]], [[3.0]]])).p_values(np.array([[[2.5]], [[4.0]]])).tolist()
        [0.5, 0.25]
        """
        found = [self._chunk(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
        return np.concatenate(found) if found else np.empty(0)

    @cached_property
    def _distinct(self) -> list[list[int]]:
        """Per leg, its values that are not the same as the first for every control: those are ranked by themselves."""
        return [
            [0, *(value for value in range(1, leg.shape[1]) if (leg[:, value] != leg[:, 0]).any())]
            for leg in self.legs.swapaxes(0, 1)
        ]

    def _chunk(self, legs: Floats) -> Floats:
        own_ranks = 1 + _count_reaching(self._sorted, legs).max(axis=-1)
        weights = np.ones(legs.shape[1]) if self.weights is None else np.array(self.weights)
        own, others = (weights / own_ranks).sum(axis=-1)[:, None], np.zeros((len(legs), len(self.legs)))
        # Leg by leg: arrays (images, controls) are passed over much faster than the short axes of one large array.
        for leg, weight in enumerate(weights):
            others += self._weigh_controls(legs[:, leg], leg, weight)
        # Sums of the same reciprocals in another order may differ in their last digit: those count as equal.
        return np.asarray((1 + (others >= own - 1e-12).sum(axis=1)) / (1 + len(self.legs)), dtype=float)

    def _weigh_controls(self, images: Floats, leg: int, weight: float) -> Floats:
        """Return weight / rank of every control among the controls and one image, by one leg: (images, controls).

        The rank is one lower where the image is at least as high, and the worst over the leg's values.

        images:  (images, values)
        """
        same = bool((images == images[:, :1]).all())
        # Each control has one of two ranks, so that nothing is divided for every image.
        shares = (
            np.where(images[:, None, value] >= self.legs[:, leg, value], weight / (reached + 1), weight / reached)
            for value in (self._distinct[leg] if same else range(images.shape[1]))
            for reached in (self._reached[:, leg, value],)
        )
        # The worst of ranks is the least of shares.
        return reduce(np.minimum, shares)


def _count_reaching(ordered: Floats, values: Floats) -> npt.NDArray[np.int64]:
    """Count, for numbers (images, legs, values), how many of the sorted controls are at least as high."""
    counts = np.empty(values.shape, dtype=np.int64)
    for leg in np.ndindex(values.shape[1:]):
        column = (slice(None), *leg)
        counts[column] = len(ordered) - np.searchsorted(ordered[column], values[column], side="left")
    return counts


class JointTest:
    """Tests images against one bank, under one policy."""

    def __init__(
        self, bank: NullBank, policy: Policy, *, captions_comparable: bool = True, funnel: Funnel | None = None
    ) -> None:
        """Prepare the test.

        captions_comparable:  False when captions differ from the controls' without the model
        funnel:               the rule by which images were not asked further; it is applied to the controls too
        """
        self.bank, self.policy, self.funnel = bank, policy, funnel
        self.texts = {rung: bank.count_texts(rung) for rung in DECIDING_RUNGS}
        self.captions_comparable = captions_comparable
        self._has_captions = has_caption_scores(bank)
        self._has_scores = not any(isinstance(one.log_ratio, Skipped) for one in bank.controls)
        self._nulls: dict[tuple[object, ...], JointNull] = {}

    def design(self, image: Control) -> Design:
        """Return the legs on which an image and the controls can be compared like for like.

        An image that a funnel kept from being asked has the design that it would have had.
        """
        left_out = not image.is_asked
        rungs = tuple(
            rung for rung in DECIDING_RUNGS
            if (image.rungs.get(rung) or (left_out and rung in image.texts))
            and 0 < image.texts.get(rung, 1) <= self.texts[rung]
            and self._is_usable(rung)
        )  # fmt: skip
        parts = tuple(
            rung for rung in rungs if (image.closest_part(rung) or left_out) and self.bank.part_nulls(rung)
        )  # fmt: skip
        descriptor = tuple(
            rung for rung in rungs
            if self.policy.uses_copy_descriptor
            and (image.best_by_descriptor(rung) is not None or left_out)
            and self.bank.descriptor_maxima(rung)
        )  # fmt: skip
        captioned = image.is_captioned
        caption = self.captions_comparable and captioned and self._has_captions
        score = self.bank.score(image, self.policy.complexity)
        scored = not isinstance(score, Skipped) if image.is_scored else self._has_scores
        pixels = not (descriptor and self.policy.legs == "descriptor")
        return Design(scored, rungs, parts if pixels else (), descriptor, pixels, caption, captioned)

    def _is_usable(self, rung: Rung) -> bool:
        return self.captions_comparable or rung not in TEXT_RUNGS

    def p_value(self, image: Control, edges: Sequence[float] = ()) -> float | Skipped:
        """Return the p-value of an image against the controls of its bin of complexity.

        Texts beyond those that controls were asked with are more chances than the controls had. Each is compared with
        the controls alone, and Bonferroni's correction joins them: p = 2 min(p of the rest, texts x smallest of them).
        """
        design = self.design(image)
        if not design.score and not design.rungs and not design.caption:
            return Skipped(skipped="nothing was measured on which image and controls can be compared")
        bank = self.bank.within_bin(image, edges)
        null = self._null(bank, design, edges, image)
        own = self._measure([image], design)
        p_value = float(null.p_values(own)[0])
        if not image.is_asked:
            # The chance that more texts would have given counts, though it was not taken.
            more = any(image.texts.get(rung, 0) > self.texts[rung] for rung in TEXT_RUNGS if self._is_usable(rung))
            return min(1.0, 2 * p_value) if more else p_value
        place = _find_bin(image, edges)
        beyond = [p for rung in TEXT_RUNGS for p in self._texts_beyond(image, rung, design, (bank, place))]
        return min(1.0, 2 * min(p_value, len(beyond) * min(beyond))) if beyond else p_value

    def _null(self, bank: NullBank, design: Design, edges: Sequence[float], image: Control) -> JointNull:
        """Measure the controls by a design once; those that lack one of its rungs, or a caption, are left out."""
        key = (design, _find_bin(image, edges))
        if key not in self._nulls:
            controls = [
                one for one in bank.controls
                if all(one.rungs.get(rung) for rung in design.rungs)
                and not (design.caption and one.caption_log_ratio is None)
            ]  # fmt: skip
            inverted = 1.0 if self.bank.protocol.span is None else INVERTED_WEIGHT
            self._nulls[key] = JointNull(self._measure(controls, design), design.weigh(inverted))
        return self._nulls[key]

    def _measure(self, images: Sequence[Control], design: Design) -> Floats:
        """Measure images by a design; their scores are adjusted for complexity by the bank's lines."""
        complexity = self.policy.complexity
        scores = [self.bank.score(one, complexity) for one in images]
        captions = score_captions(images, self.bank, complexity) if design.caption else ()
        legs = measure_legs(images, scores, design, captions)
        if self.funnel is None or not design.score:
            return legs
        for row, image in enumerate(images):
            if not self.funnel.looks_on(image, captioned=design.captioned):
                # Of an image left out after its first look nothing is known that images and controls share.
                legs[row] = -inf
            elif not self.funnel.asks(image, captioned=design.captioned):
                # Scores come first, and the one under the caption last; nothing else is known of an image left out.
                legs[row, 1 : legs.shape[1] - design.caption] = -inf
        return legs

    def _texts_beyond(self, image: Control, rung: Rung, design: Design, within: tuple[NullBank, int]) -> list[float]:
        """Return one p-value for each text, or group of as many texts as controls had, that the design leaves out.

        within:  the controls of the image's bin of complexity, and the bin
        """
        if rung in design.rungs or not image.rungs.get(rung) or not self._is_usable(rung):
            return []
        null_rung = self.bank.null_rung(rung)
        if null_rung is None:
            return []
        count, each = image.texts.get(rung, 1), max(1, self.texts[rung])
        groups = [range(start, min(count, start + each)) for start in range(0, count, each)]
        answers = [image.leading(rung, group) for group in groups]
        return [self._compare_answers(some, null_rung, *within) for some in answers]

    def _compare_answers(self, seeds: Sequence[ControlSeed], null_rung: Rung, bank: NullBank, place: int) -> float:
        """Return the p-value of the answers to some texts, against as many answers of every control on one rung.

        A mean of few answers varies more than one of many, so the controls' first answers are as many.
        """
        key = (null_rung, len(seeds), place)
        if key not in self._nulls:
            answers = [one.leading(null_rung)[: len(seeds)] for one in bank.controls if one.rungs.get(null_rung)]
            legs = np.array([_measure_answers(some) for some in answers], dtype=float)
            self._nulls[key] = JointNull(legs.reshape(len(answers), 2, 2))
        return float(self._nulls[key].p_values(np.array([_measure_answers(seeds)], dtype=float))[0])


def _find_bin(image: Control, edges: Sequence[float]) -> int:
    return int(np.searchsorted(edges, image.complexity)) if edges else 0


def correct_for_texts(p_value: float, texts: int, control_texts: int) -> float:
    """Correct the p-value of a rung's best image when it was asked with more texts than the controls (Bonferroni).

    >>> correct_for_texts(0.01, 10, 1), correct_for_texts(0.01, 8, 8), correct_for_texts(0.01, 0, 0)
    (0.1, 0.01, 0.01)
    """
    return min(1.0, p_value * max(1, ceil(texts / max(1, control_texts))))
