"""Null banks: the measurements of controls under one protocol."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from math import inf, isfinite
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from imgaudit.decision.control_works import merge_sources, separate_works
from imgaudit.decision.controls import Control, ControlSource, Scored
from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.exceptions import CalibrationError
from imgaudit.io.writing import read_json, write_json
from imgaudit.schema.baseline import BASELINE_WORDING, Baseline
from imgaudit.schema.model_checks import ModelChecks
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import DECIDING_RUNGS, InvMMMeasurement, Legs, Record, Rung, Skipped
from imgaudit.schema.shard import BankShard
from imgaudit.statistics import LinearFit, conformal_p_value, exceedance_threshold, fit_line

KEEP_OUT_FROM = 80
"""From this many controls on, some are kept out of the bank: a quarter, as long as one control fewer than this is left.
They fit the score on complexity, and the share of them that the whole rule calls reproduced is the rule's error rate on
this model."""

FIT_FROM = 20
"""With fewer controls kept out, the score is not fitted on complexity: so few would move every score by chance."""

BANK_SCHEMA = 2
"""Version of a bank's format."""


def count_bank_controls(controls: int) -> int:
    """Return how many of the controls given count in p-values; never fewer for more controls.

    >>> [count_bank_controls(controls) for controls in (79, 80, 105, 106, 320)]
    [79, 79, 79, 80, 240]
    """
    if controls < KEEP_OUT_FROM:
        return controls
    return max(KEEP_OUT_FROM - 1, controls - controls // 4)


Complexity = Literal["residual", "none"]

UNSCORED_CONTROLS = Skipped(
    skipped="some controls have no score, as they were measured by a version that gave this model none: calibrate again"
)
"""The reason why an image's score is compared with nothing."""


def _comparable_rungs(rung: Rung) -> Sequence[Rung]:
    """List the rungs of controls that a target's rung may be compared with: its own, then deciding rungs above it."""
    return DECIDING_RUNGS[DECIDING_RUNGS.index(rung) :] if rung in DECIDING_RUNGS else (rung,)


def _closeness(divergence: float | Skipped) -> float:
    """Turn InvMM's divergence into a rank value: higher = more memorised, failures below everything."""
    return -inf if isinstance(divergence, Skipped) else -divergence


@lru_cache(maxsize=16)
def fit_complexity(points: tuple[tuple[float, float], ...]) -> LinearFit:
    """Fit a line to pairs of complexity and score; flat with fewer than 20 of them.

    This is done once: the line is needed for every image, and its time grows with the square of the controls.
    """
    fitted = points if len(points) >= FIT_FROM else ()
    return fit_line([one[0] for one in fitted], [one[1] for one in fitted])


class NullBank(Record):
    """Measured controls of one model under one protocol, frozen before any target is scored."""

    schema_version: int = BANK_SCHEMA
    """Version of this format."""
    model: str
    """Name of the model, for the reader."""
    model_fingerprint: str
    """Identity of the model. The bank is refused for any other model."""
    protocol: Protocol
    """The protocol of every control. The bank is refused under any other protocol."""
    sources: list[ControlSource]
    """The sets of controls, with their origins."""
    kept_out: list[Control]
    """Controls that do not count in p-values: they fit the score on complexity and check the rule."""
    controls: list[Control]
    """Controls that count in p-values."""
    model_checks: ModelChecks | None = Field(None, exclude_if=lambda value: value is None)
    """Checks of the model, made with the controls; absent in banks that were made before models were checked."""
    copy_descriptor: str = Field("", exclude_if=lambda value: not value)
    """Name and origin of the copy descriptor that all controls were measured with; empty where there was none."""
    near_copies: list[Control] = Field([], exclude_if=lambda value: not value)
    """Controls that were measured and are near copies of others: they count in nothing."""
    shard: BankShard | None = Field(None, exclude_if=lambda value: value is None)
    """The part of the controls that this file holds; absent where it holds all. An audit refuses a part."""

    @model_validator(mode="after")
    def _has_one_baseline(self) -> "NullBank":
        if len(self.baselines) > 1:
            raise ValueError("its controls were scored against different baselines: calibrate again on all of them")
        return self

    @property
    def baselines(self) -> set[Baseline]:
        """The baselines that its controls were scored against: one, or none where no control has a score."""
        everything = (*self.controls, *self.kept_out, *self.near_copies)
        return {one.baseline for one in everything if not isinstance(one.log_ratio, Skipped)}

    @property
    def works(self) -> int:
        """Number of works among the controls, those kept out included."""
        return len(self.controls) + len(self.kept_out)

    @property
    def files(self) -> int:
        """Number of files that the controls come from, near copies included."""
        named = {sha256 for source in self.sources for sha256 in (*source.sha256s, *source.same_works)}
        return max(len(named), self.works + len(self.near_copies))

    def by_work(self) -> "NullBank":
        """Return the bank with one control per work, as if the others had never been in it.

        Banks of older versions, and sets of controls that were put together, can hold near copies. They are told by
        the PDQ hash of the whole image, at most 31 bits apart, and the one to stay is chosen by hash.
        """
        everything = sorted([*self.kept_out, *self.controls, *self.near_copies], key=lambda one: one.sha256)
        chosen, _ = separate_works(everything)
        if {one.sha256 for one in chosen} == {one.sha256 for one in (*self.kept_out, *self.controls)}:
            return self
        return split_controls(self, everything, self.sources)

    @property
    def source(self) -> str:
        """The origins of the controls in words."""
        return "; ".join(f"{len(source.sha256s)} from {source.note}" for source in self.sources)

    @property
    def line(self) -> LinearFit:
        """The line of score on complexity, fitted on the controls kept out; flat with fewer than 20 of them."""
        points = tuple((c.complexity, c.log_ratio) for c in self.kept_out if not isinstance(c.log_ratio, Skipped))
        return fit_complexity(points)

    def exclude(self, sha256s: Collection[str]) -> "NullBank":
        """Return the bank without these images: an image cannot be a control for itself or for a near copy."""
        if not any(control.sha256 in sha256s for control in self.controls):
            return self
        return self.model_copy(update={"controls": [c for c in self.controls if c.sha256 not in sha256s]})

    def score(self, image: Scored, complexity: Complexity = "residual") -> float | Skipped:
        """Return the score of a control or a target: its log ratio, by default less what complexity explains.

        Skipped where not every control has a score: those without would rank below any image.
        """
        ratio = image.log_ratio
        if isinstance(ratio, Skipped):
            return ratio
        if any(isinstance(control.log_ratio, Skipped) for control in self.controls):
            return UNSCORED_CONTROLS
        if complexity == "none":
            return ratio
        return self.line.residual(ratio, image.complexity)

    def scores(self, complexity: Complexity = "residual") -> list[float]:
        """Return the scores of all counting controls that have one."""
        line = self.line if complexity == "residual" else LinearFit(0.0, 0.0, 0)
        return [line.residual(c.log_ratio, c.complexity) for c in self.controls if not isinstance(c.log_ratio, Skipped)]

    def bins(self, count: int, needed: int) -> list[float]:
        """Return the edges between `count` bins of complexity; none where a bin would hold too few controls.

        needed:  controls that every bin must hold

        The edges are quantiles of the controls kept out, so they depend on no counting control and on no target.
        """
        if count < 2 or not self.kept_out:
            return []
        edges = np.quantile([c.complexity for c in self.kept_out], np.linspace(0, 1, count + 1)[1:-1])
        held = np.bincount(np.searchsorted(edges, [c.complexity for c in self.controls]), minlength=count)
        return [float(edge) for edge in edges] if held.min() >= needed else []

    def p_value(
        self, image: Scored, complexity: Complexity = "residual", edges: Sequence[float] = ()
    ) -> float | Skipped:
        """Return the conformal p-value of an image's score against the controls, within its bin where there are bins.

        p = (1 + controls with a score at least as high) / (1 + controls); see `imgaudit.statistics.conformal_p_value`.
        """
        score = self.score(image, complexity)
        if isinstance(score, Skipped):
            return score
        return conformal_p_value(score, self.within_bin(image, edges).scores(complexity))

    def within_bin(self, image: Scored, edges: Sequence[float]) -> "NullBank":
        """Return the bank with the controls of the image's bin of complexity; the bank itself without edges."""
        if not edges:
            return self
        own = np.searchsorted(edges, image.complexity)
        controls = [c for c in self.controls if np.searchsorted(edges, c.complexity) == own]
        return self.model_copy(update={"controls": controls})

    def maxima(self, rung: Rung) -> list[float]:
        """List every control's best similarity on a rung, over the same seeds and scales as a target's."""
        return [best for control in self.controls if (best := control.best(rung)) is not None]

    def compared_by(self, copy_descriptor: str) -> "NullBank":
        """Return the bank for images that were compared by a copy descriptor; without one unless it is the bank's own.

        Similarities of two networks are not comparable: without one in common, pixels decide alone.
        """
        if self.copy_descriptor == copy_descriptor:
            return self
        return self.model_copy(update={"copy_descriptor": ""})

    def descriptor_maxima(self, rung: Rung) -> list[float]:
        """List every control's best similarity by the copy descriptor on a rung; empty unless all controls have one."""
        if not self.copy_descriptor:
            return []
        asked = [control for control in self.controls if control.rungs.get(rung)]
        known = [value for control in asked if (value := control.best_by_descriptor(rung)) is not None]
        return known if len(known) == len(asked) else []

    def null_rung(self, rung: Rung) -> Rung | None:
        """Return the rung of the controls that a target's rung is compared with; None without controls.

        This is the same rung, or else the next one up the ladder that the controls have. A higher rung helps the
        controls more than the target was helped, so the comparison errs in favour of the model.
        """
        return next((other for other in _comparable_rungs(rung) if self.maxima(other)), None)

    def thresholds(self, level: float) -> CopyThresholds | None:
        """Set copy thresholds that at most a share `level` of controls passes on each leg; None without controls.

        The strictest values over the controls' deciding rungs hold: whether two pictures are copies does not depend on
        how one was made. The rung with learned noise is left out, because such noise can carry the image itself.
        """
        similarity, distance, by_descriptor = [], [], []
        for rung in DECIDING_RUNGS:
            nearest = [value for control in self.controls if (value := control.nearest(rung)) is not None]
            if nearest:
                similarity.append(exceedance_threshold(self.maxima(rung), level))
                distance.append(-exceedance_threshold([-value for value in nearest], level))
            if known := self.descriptor_maxima(rung):
                by_descriptor.append(exceedance_threshold(known, level))
        if not similarity:
            return None
        # With fewer controls than place a threshold it would be infinite, which nothing passes.
        placed = max(by_descriptor, default=inf)
        copy_similarity = placed if isfinite(placed) and len(by_descriptor) == len(similarity) else None
        return CopyThresholds(similarity=max(similarity), distance=min(distance), copy_similarity=copy_similarity)

    def count_texts(self, rung: Rung) -> int:
        """Return how many texts the controls were asked with on a rung, the fewest; 0 when most were not asked."""
        unknown = self.protocol.ladder.paraphrases if rung is Rung.PARAPHRASE else 1
        given = [control.texts.get(rung, unknown) for control in self.controls if control.rungs.get(rung)]
        return min(given) if 2 * len(given) >= max(1, len(self.controls)) else 0

    def part_nulls(self, rung: Rung) -> list[Legs]:
        """List the closest comparison of every control that was compared in parts on a rung."""
        return [legs for control in self.controls if (legs := control.closest_part(rung)) is not None]

    def part_rung(self, rung: Rung) -> Rung | None:
        """Return the rung of the controls that parts of a target's rung are compared with, as `null_rung` does."""
        return next((other for other in _comparable_rungs(rung) if self.part_nulls(other)), None)

    def control_rate(self, rung: Rung, thresholds: CopyThresholds) -> float:
        """Return the mean over controls of the share of their seeds that count as copies, 0 to 1."""
        rates = [
            sum(thresholds.is_copy(one.similarity, one.distance, one.copy_similarity) for one in seeds) / len(seeds)
            for control in self.controls
            if (seeds := control.rungs.get(rung))
        ]
        return sum(rates) / len(rates) if rates else 0.0

    def part_rate(self, rung: Rung, thresholds: PairThresholds) -> float:
        """Return the mean over controls of the share of their seeds that exceed both legs' thresholds, 0 to 1."""
        rates = [
            sum(thresholds.exceeded_by(legs) for legs in compared) / len(compared)
            for control in self.controls
            if (compared := [seed.legs for seed in control.rungs.get(rung, []) if seed.legs])
        ]
        return sum(rates) / len(rates) if rates else 0.0

    def invmm_p_value(self, measured: InvMMMeasurement, protocol: Protocol) -> float | Skipped:
        """Return the conformal p-value of InvMM's divergence against the controls; lower divergence = more memorised.

        An image whose search failed ranks behind all that succeeded, tied with the other failures.
        Skipped when the controls were not measured by InvMM with the same settings, and under the same condition.
        """
        values = [control.invmm for control in self.controls if control.invmm is not None]
        if self.protocol.invmm != protocol.invmm or not values:
            return Skipped(skipped="the controls were not measured by InvMM with these settings: calibrate with them")
        if {control.invmm_condition for control in self.controls} - {measured.condition, None}:
            searched = {"mixture": "a mixture of words", "embedding": "an embedding"}[measured.condition]
            return Skipped(skipped=f"InvMM searched for {searched} here, and not for the controls: calibrate again")
        return conformal_p_value(_closeness(measured.kl_per_dimension), [_closeness(value) for value in values])

    def require(self, model_fingerprint: str, protocol: Protocol) -> None:
        """Raise CalibrationError, naming every difference, unless the bank is for this model and protocol.

        InvMM decides nothing: a bank without it, or with other settings of it, gives everything but InvMM's p-value.
        A part of a bank is for none.
        """
        if self.shard is not None:
            raise CalibrationError(self.shard.refusal)
        if self.model_fingerprint != model_fingerprint:
            raise CalibrationError(
                f"the null bank was made with model {self.model!r} ({self.model_fingerprint[:12]}), but this one is "
                f"{model_fingerprint[:12]}: calibrate again with this model"
            )
        if differences := protocol.deciding.differences(self.protocol.deciding):
            # Where nobody chose a framing, banks of older versions differ in this alone.
            framed = protocol.model_copy(update={"framing": self.protocol.framing})
            alone = framed.deciding == self.protocol.deciding
            way = (
                f"use --framing {self.protocol.framing.value}, as its controls were framed, "
                if alone
                else ("use the same options, ")
            )
            raise CalibrationError(
                f"the null bank was made under another protocol ({'; '.join(differences)}): {way}or calibrate again"
            )

    def require_baseline(self, images: Sequence[Control]) -> None:
        """Raise CalibrationError when an image was scored against another baseline than the controls."""
        theirs = {one.baseline for one in images if not isinstance(one.log_ratio, Skipped)}
        if self.baselines and (other := sorted(theirs - self.baselines)):
            [own] = self.baselines
            raise CalibrationError(
                f"the controls' errors were {BASELINE_WORDING[own]}, and those of the images "
                f"{BASELINE_WORDING[other[0]]}: their scores cannot be compared; calibrate again"
            )

    def merge(self, other: "NullBank") -> "NullBank":
        """Return both sets of controls in one bank, as if they had been measured together; order does not matter.

        Raises CalibrationError when model, protocol or the baseline of scores differ.
        """
        self.require(other.model_fingerprint, other.protocol)
        if self.baselines != other.baselines:
            raise CalibrationError(
                "the controls of the two null banks were scored against different baselines, or only those of one have "
                "scores: calibrate again where the older one was made"
            )
        if self.protocol.invmm != other.protocol.invmm:
            raise CalibrationError(
                "only one of the null banks was measured by InvMM, or with other settings (--measure, --invmm-steps): "
                "use the same options for both"
            )
        banks = (self, other)
        everything = [one for bank in banks for one in (*bank.kept_out, *bank.controls, *bank.near_copies)]
        # An image measured twice, under two seeds, counts once; which of the two depends on content, not on order.
        unique = {control.sha256: control for control in sorted(everything, key=lambda one: one.model_dump_json())}
        # Vectors of two networks are never compared: with two, or with one, the merged bank has none.
        common = self.copy_descriptor if self.copy_descriptor == other.copy_descriptor else ""
        return split_controls(
            self.model_copy(update={"copy_descriptor": common}),
            [unique[sha256] for sha256 in sorted(unique)],
            merge_sources([*self.sources, *other.sources]),
        )

    def write(self, path: Path) -> None:
        """Write the bank as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> "NullBank":
        """Read a bank. Raises CalibrationError when the file is not one."""
        try:
            content = read_json(path)
            if isinstance(content, dict) and "controls" in content and content.get("schema_version") != BANK_SCHEMA:
                raise CalibrationError(
                    f"{str(path)!r} is a null bank of format {content.get('schema_version')}, but this version of "
                    f"imgaudit writes and reads format {BANK_SCHEMA}: calibrate again"
                )
            return cls.model_validate(content)
        except ValidationError as error:
            raise CalibrationError(f"{str(path)!r} is not a null bank: {describe_problem(error)}") from error


def split_controls(bank: NullBank, controls: Sequence[Control], sources: list[ControlSource]) -> NullBank:
    """Return the bank with these controls, one per work; when there are enough, those with the smallest SHA-256 are
    kept out.

    The split is by hash, so it depends neither on order nor on any score.
    """
    works, near_copies = separate_works(controls)
    out = len(works) - count_bank_controls(len(works))
    parts = {"kept_out": works[:out], "controls": works[out:], "near_copies": near_copies, "sources": sources}
    return bank.model_copy(update=parts)
