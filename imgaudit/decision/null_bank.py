"""Null banks: what the same procedure with the same budget gives on images known not to be in the training set."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Literal
from typing import Protocol as Interface

import numpy as np
from pydantic import ValidationError

from imgaudit.decision.controls import Control, ControlSource, make_control
from imgaudit.exceptions import CalibrationError
from imgaudit.io.writing import read_json, write_json
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import DECIDING_RUNGS, Legs, Measurement, Record, Rung, Skipped
from imgaudit.statistics import LinearFit, conformal_p_value, exceedance_threshold, fit_line

KEEP_OUT_FROM = 80
"""From this many controls on, a quarter of them is kept out of the bank: it fits the score on complexity, and what the
whole rule says of it is the rule's error rate on this model."""

BANK_SCHEMA = 2
"""Version of a bank's format."""


def count_bank_controls(controls: int) -> int:
    """How many of the controls given count in p-values.

    >>> count_bank_controls(79), count_bank_controls(320)
    (79, 240)
    """
    return controls - (controls // 4 if controls >= KEEP_OUT_FROM else 0)


Complexity = Literal["residual", "none"]


class Scored(Interface):
    """A control or a target, as far as its score goes."""

    @property
    def complexity(self) -> float:
        """log(PNG bytes per pixel)."""

    @property
    def log_ratio(self) -> float | Skipped:
        """Score before residualisation."""


def _judging(rung: Rung) -> Sequence[Rung]:
    """The controls' rungs that a target's rung may be judged by, in order: its own, and those above it that decide."""
    return DECIDING_RUNGS[DECIDING_RUNGS.index(rung) :] if rung in DECIDING_RUNGS else (rung,)


def _closeness(divergence: float | Skipped) -> float:
    """What InvMM ranks by, higher = more memorised; failures below everything."""
    return -inf if isinstance(divergence, Skipped) else -divergence


class CopyThresholds(Record):
    """What one generated image must exceed to count as a copy."""

    similarity: float
    """Strictly more than this."""
    distance: float
    """Strictly less than this."""

    def is_copy(self, similarity: float, distance: float) -> bool:
        """Both legs must agree."""
        return similarity > self.similarity and distance < self.distance


@lru_cache(maxsize=16)
def _fitted(points: tuple[tuple[float, float], ...]) -> LinearFit:
    """The fit is asked for once per image, and takes time with the square of the controls."""
    return fit_line([one[0] for one in points], [one[1] for one in points])


class NullBank(Record):
    """Scores of controls under one model and one protocol, frozen before any target is scored."""

    schema_version: int = BANK_SCHEMA
    """Version of this format."""
    model: str
    """Name of the model, for people."""
    model_fingerprint: str
    """Identity of the model; another model refuses the bank."""
    protocol: Protocol
    """What every control met; another protocol refuses the bank."""
    sources: list[ControlSource]
    """The populations, kept apart."""
    kept_out: list[Control]
    """Controls that p-values do not count: they fit the score on complexity and check the rule."""
    controls: list[Control]
    """Controls that p-values count."""

    @property
    def source(self) -> str:
        """The populations in words."""
        return "; ".join(f"{len(source.sha256s)} from {source.note}" for source in self.sources)

    @property
    def line(self) -> LinearFit:
        """Score on complexity, from the controls kept out; flat when there are none."""
        return _fitted(
            tuple((c.complexity, c.log_ratio) for c in self.kept_out if not isinstance(c.log_ratio, Skipped))
        )

    def exclude(self, sha256s: Collection[str]) -> "NullBank":
        """The bank without given images: an image cannot be a control for itself, nor for a near copy."""
        if not any(control.sha256 in sha256s for control in self.controls):
            return self
        return self.model_copy(update={"controls": [c for c in self.controls if c.sha256 not in sha256s]})

    def score(self, image: Scored, complexity: Complexity = "residual") -> float | Skipped:
        """Log ratio of a control or a target, adjusted for complexity unless told otherwise."""
        ratio = image.log_ratio
        if isinstance(ratio, Skipped) or complexity == "none":
            return ratio
        return self.line.residual(ratio, image.complexity)

    def scores(self, complexity: Complexity = "residual") -> list[float]:
        """Scores of all controls of the bank that have one."""
        line = self.line if complexity == "residual" else LinearFit(0.0, 0.0, 0)
        return [line.residual(c.log_ratio, c.complexity) for c in self.controls if not isinstance(c.log_ratio, Skipped)]

    def bins(self, count: int, needed: int) -> list[float]:
        """Edges of complexity between `count` bins of the bank, or none where a bin would hold fewer than `needed`.

        The edges are quantiles of the controls kept out, so no score of the bank and no target has a part in them.
        """
        if count < 2 or not self.kept_out:
            return []
        edges = np.quantile([c.complexity for c in self.kept_out], np.linspace(0, 1, count + 1)[1:-1])
        held = np.bincount(np.searchsorted(edges, [c.complexity for c in self.controls]), minlength=count)
        return [float(edge) for edge in edges] if held.min() >= needed else []

    def p_value(
        self, image: Scored, complexity: Complexity = "residual", edges: Sequence[float] = ()
    ) -> float | Skipped:
        """Conformal p-value of an image's score against the controls, those of its own bin where there are bins."""
        score = self.score(image, complexity)
        if isinstance(score, Skipped):
            return score
        own = np.searchsorted(edges, image.complexity)
        bank = (
            self
            if not edges
            else self.model_copy(
                update={"controls": [c for c in self.controls if np.searchsorted(edges, c.complexity) == own]}
            )
        )
        return conformal_p_value(score, bank.scores(complexity))

    def maxima(self, rung: Rung) -> list[float]:
        """Every control's best similarity on a rung, over the same seeds and scales as a target's."""
        return [best for control in self.controls if (best := control.best(rung)) is not None]

    def null_rung(self, rung: Rung) -> Rung | None:
        """The rung of the controls that a target's rung is judged by; None when there are no controls.

        Its own, or else the next one up the ladder that controls have. That one helps the controls more than the
        target was helped, so the comparison errs on the side of the model.
        """
        return next((other for other in _judging(rung) if self.maxima(other)), None)

    def thresholds(self, level: float) -> CopyThresholds | None:
        """What at most a share `level` of controls reaches, per leg and image; None when there are no controls.

        The strictest over the controls' deciding rungs: whether two pictures are copies does not depend on how one was
        made. Noise learned for a control can carry it, which says nothing of what comes by chance.
        """
        similarity, distance = [], []
        for rung in DECIDING_RUNGS:
            nearest = [value for control in self.controls if (value := control.nearest(rung)) is not None]
            if nearest:
                similarity.append(exceedance_threshold(self.maxima(rung), level))
                distance.append(-exceedance_threshold([-value for value in nearest], level))
        return CopyThresholds(similarity=max(similarity), distance=min(distance)) if similarity else None

    def part_nulls(self, rung: Rung) -> list[Legs]:
        """Of every control that was compared in parts, the closest seed of a rung."""
        return [legs for control in self.controls if (legs := control.closest_part(rung)) is not None]

    def part_rung(self, rung: Rung) -> Rung | None:
        """The rung of the controls that parts of a target's rung are judged by, as `null_rung`."""
        return next((other for other in _judging(rung) if self.part_nulls(other)), None)

    def control_rate(self, rung: Rung, thresholds: CopyThresholds) -> float:
        """Mean over controls of the share of their seeds that count as copies."""
        rates = [
            sum(thresholds.is_copy(seed.similarity, seed.distance) for seed in seeds) / len(seeds)
            for control in self.controls
            if (seeds := control.rungs.get(rung))
        ]
        return sum(rates) / len(rates) if rates else 0.0

    def part_rate(self, rung: Rung, thresholds: PairThresholds) -> float:
        """Mean over controls of the share of their seeds that exceed both legs' thresholds."""
        rates = [
            sum(thresholds.exceeded_by(legs) for legs in compared) / len(compared)
            for control in self.controls
            if (compared := [seed.legs for seed in control.rungs.get(rung, []) if seed.legs])
        ]
        return sum(rates) / len(rates) if rates else 0.0

    def invmm_p_value(self, measured: float | Skipped, protocol: Protocol) -> float | Skipped:
        """Share of controls, and the image, whose InvMM divergence is no higher; lower divergence = more memorised.

        Where no check succeeded an image ranks behind all that did, tied with the others of its kind.

        Skipped when the controls were not measured so.
        """
        values = [control.invmm for control in self.controls if control.invmm is not None]
        if self.protocol.invmm != protocol.invmm or not values:
            return Skipped(skipped="the controls were not measured by InvMM with these settings: calibrate with them")
        return conformal_p_value(_closeness(measured), [_closeness(value) for value in values])

    def require(self, model_fingerprint: str, protocol: Protocol) -> None:
        """Raise CalibrationError, naming every difference, unless the bank is for this model and protocol.

        InvMM is measured apart and decides nothing: a bank without it, or with other settings of it, gives everything
        but the p-value of its divergence.
        """
        if self.model_fingerprint != model_fingerprint:
            raise CalibrationError(
                f"the null bank was made with model {self.model!r} ({self.model_fingerprint[:12]}), but this one is "
                f"{model_fingerprint[:12]}: calibrate again with this model"
            )
        if differences := protocol.deciding.differences(self.protocol.deciding):
            raise CalibrationError(
                "the null bank was made under another protocol (" + "; ".join(differences) + "): use the same options, "
                "or calibrate again"
            )

    def merge(self, other: "NullBank") -> "NullBank":
        """Both populations in one bank, as if they had been measured together; order does not matter.

        Raises CalibrationError when model or protocol differ.
        """
        self.require(other.model_fingerprint, other.protocol)
        if self.protocol.invmm != other.protocol.invmm:
            raise CalibrationError(
                "only one of the null banks was measured by InvMM, or with other settings (--measure, --invmm-steps): "
                "use the same options for both"
            )
        sources: dict[tuple[str, int], ControlSource] = {}
        for source in sorted([*self.sources, *other.sources], key=lambda one: one.model_dump_json()):
            key = (source.note, source.seed)
            same = sources.get(key)
            hashes = sorted({*source.sha256s, *(same.sha256s if same else ())})
            made = min(source.made, same.made) if same else source.made
            sources[key] = ControlSource(note=source.note, made=made, seed=source.seed, sha256s=hashes)
        everything = [*self.kept_out, *self.controls, *other.kept_out, *other.controls]
        # An image measured twice, under two seeds, counts once; which of the two is settled by content, not by order.
        unique = {control.sha256: control for control in sorted(everything, key=lambda one: one.model_dump_json())}
        return _split(self, [unique[sha256] for sha256 in sorted(unique)], list(sources.values()))

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


def _split(bank: NullBank, controls: Sequence[Control], sources: list[ControlSource]) -> NullBank:
    """The bank with these controls, a quarter kept out when there are enough: those with the smallest SHA-256.

    The split is by hash, so it neither depends on order nor on any score.
    """
    out = len(controls) - count_bank_controls(len(controls))
    parts = {"kept_out": list(controls[:out]), "controls": list(controls[out:]), "sources": sources}
    return bank.model_copy(update=parts)


def build_bank(
    measurements: Sequence[Measurement],
    *,
    model: str,
    model_fingerprint: str,
    protocol: Protocol,
    seed: int,
    note: str,
    made: str,
) -> NullBank:
    """Freeze a bank from measured controls. Identical files count once.

    note:  where the controls came from and why they cannot have been in the training set
    """
    unique = {measurement.sha256: measurement for measurement in measurements}
    controls = [make_control(unique[sha256]) for sha256 in sorted(unique)]
    source = ControlSource(note=note, made=made, seed=seed, sha256s=sorted(unique))
    empty = NullBank(
        model=model, model_fingerprint=model_fingerprint, protocol=protocol, sources=[], kept_out=[], controls=[]
    )
    return _split(empty, controls, [source])
