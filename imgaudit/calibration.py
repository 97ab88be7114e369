"""Null banks: what the same procedure with the same budget gives on images known not to be in the training set."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from imgaudit.config import Protocol
from imgaudit.exceptions import CalibrationError
from imgaudit.matching import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.records import ErrorCurvePoint, Measurement, Record, Rung, Skipped
from imgaudit.statistics import LinearFit, exceedance_threshold, fit_line
from imgaudit.store import read_json, write_json

FIT_FROM = 80
"""From this many controls on, a quarter of them fit the score on complexity and take no part in p-values."""


def counting_controls(controls: int) -> int:
    """How many of the controls given count in p-values.

    >>> counting_controls(79), counting_controls(320)
    (79, 240)
    """
    return controls - (controls // 4 if controls >= FIT_FROM else 0)


class ControlSeed(Record):
    """One generated image of a control: what decides a hit, and nothing else."""

    similarity: float
    """Of the deciding descriptor."""
    distance: float
    """Of the deciding metric."""
    guidance_scale: float
    """Scale it was sampled with."""


class Control(Record):
    """What the procedure gave on one control."""

    sha256: str
    """Of the control's file; a target with the same hash is no control for itself."""
    complexity: float
    """log(PNG bytes per pixel)."""
    log_ratio: float
    """Score before residualisation."""
    by_timestep: list[ErrorCurvePoint]
    """Error curve, for the band drawn in reports."""
    rungs: dict[Rung, list[ControlSeed]]
    """Scored replicas per rung."""

    def best(self, rung: Rung) -> float | None:
        """Highest similarity over all seeds and scales of a rung."""
        return max((seed.similarity for seed in self.rungs.get(rung, [])), default=None)

    def nearest(self, rung: Rung) -> float | None:
        """Lowest distance over all seeds and scales of a rung."""
        return min((seed.distance for seed in self.rungs.get(rung, [])), default=None)


class CopyThresholds(Record):
    """What one generated image must exceed to count as a copy."""

    similarity: float
    """Strictly more than this."""
    distance: float
    """Strictly less than this."""

    def is_copy(self, similarity: float, distance: float) -> bool:
        """Both legs must agree."""
        return similarity > self.similarity and distance < self.distance


class NullBank(Record):
    """Scores of controls under one model and one protocol, frozen before any target is scored."""

    schema_version: int = 1
    """Version of this format."""
    model: str
    """Name of the model, for people."""
    model_fingerprint: str
    """Identity of the model; another model refuses the bank."""
    protocol: Protocol
    """What every control met; another protocol refuses the bank."""
    seed: int
    """Run seed of the calibration."""
    source: str
    """Where the controls came from and why they cannot have been in the training set."""
    made: str
    """UTC time."""
    fit: list[Control]
    """Controls that only fitted the score on complexity."""
    controls: list[Control]
    """Controls that p-values count."""

    @property
    def line(self) -> LinearFit:
        """Score on complexity, from the `fit` controls; flat when there are none."""
        if not self.fit:
            return LinearFit(0.0, 0.0, 0)
        return fit_line([c.complexity for c in self.fit], [c.log_ratio for c in self.fit])

    def without(self, sha256s: set[str]) -> "NullBank":
        """The bank without given images: an image cannot be a control for itself."""
        if not any(control.sha256 in sha256s for control in self.controls):
            return self
        return self.model_copy(update={"controls": [c for c in self.controls if c.sha256 not in sha256s]})

    def scores(self) -> list[float]:
        """Scores of all controls."""
        line = self.line
        return [line.residual(control.log_ratio, control.complexity) for control in self.controls]

    def maxima(self, rung: Rung) -> list[float]:
        """Every control's best similarity on a rung, over the same seeds and scales as a target's."""
        return [best for control in self.controls if (best := control.best(rung)) is not None]

    def null_rung(self, rung: Rung) -> Rung | None:
        """The rung of the controls that a target's rung is judged by; None when there are no controls.

        Its own, or else the next one up the ladder that controls have. That one helps the controls more than the
        target was helped, so the comparison errs on the side of the model.
        """
        ladder = list(Rung)
        return next((other for other in ladder[ladder.index(rung) :] if self.maxima(other)), None)

    def thresholds(self, level: float) -> CopyThresholds | None:
        """What at most a share `level` of controls reaches, per leg and image; None when there are no controls.

        The strictest over the controls' rungs: whether two pictures are copies does not depend on how one was made.
        """
        similarity, distance = [], []
        for rung in Rung:
            nearest = [value for control in self.controls if (value := control.nearest(rung)) is not None]
            if nearest:
                similarity.append(exceedance_threshold(self.maxima(rung), level))
                distance.append(-exceedance_threshold([-value for value in nearest], level))
        return CopyThresholds(similarity=max(similarity), distance=min(distance)) if similarity else None

    def control_rate(self, rung: Rung, thresholds: CopyThresholds) -> float:
        """Mean over controls of the share of their seeds that count as copies."""
        rates = [
            sum(thresholds.is_copy(seed.similarity, seed.distance) for seed in seeds) / len(seeds)
            for control in self.controls
            if (seeds := control.rungs.get(rung))
        ]
        return sum(rates) / len(rates) if rates else 0.0

    def require(self, model_fingerprint: str, protocol: Protocol) -> None:
        """Raise CalibrationError, naming every difference, unless the bank is for this model and protocol."""
        if self.model_fingerprint != model_fingerprint:
            raise CalibrationError(
                f"the null bank was made with model {self.model!r} ({self.model_fingerprint[:12]}), but this one is "
                f"{model_fingerprint[:12]}: calibrate again with this model"
            )
        if differences := protocol.differences(self.protocol):
            raise CalibrationError(
                "the null bank was made under another protocol (" + "; ".join(differences) + "): use the same options, "
                "or calibrate again"
            )

    def write(self, path: Path) -> None:
        """Write the bank as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> "NullBank":
        """Read a bank. Raises CalibrationError when the file is not one."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            raise CalibrationError(
                f"{str(path)!r} is not a null bank: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            ) from error


def control_from(measurement: Measurement) -> Control:
    """Keep of a measured control what a bank needs."""
    rungs: dict[Rung, list[ControlSeed]] = {}
    for rung, measured in measurement.rungs.items():
        if isinstance(measured, Skipped):
            continue
        rungs[rung] = [
            ControlSeed(
                similarity=replica.similarity[DECIDING_DESCRIPTOR],
                distance=replica.distance[DECIDING_DISTANCE],
                guidance_scale=replica.guidance_scale,
            )
            for replica in measured.valid
            if not isinstance(replica.similarity, Skipped) and not isinstance(replica.distance, Skipped)
        ]
    return Control(
        sha256=measurement.sha256,
        complexity=measurement.complexity,
        log_ratio=measurement.error.log_ratio,
        by_timestep=measurement.error.by_timestep,
        rungs=rungs,
    )


def build_bank(
    measurements: Sequence[Measurement],
    *,
    model: str,
    model_fingerprint: str,
    protocol: Protocol,
    seed: int,
    source: str,
    made: str,
) -> NullBank:
    """Freeze a bank. With 80 controls or more, the quarter with the smallest SHA-256 only fits complexity.

    The split is by hash, so it neither depends on order nor on any score. Identical files count once.
    """
    unique = {measurement.sha256: measurement for measurement in measurements}
    controls = [control_from(unique[sha256]) for sha256 in sorted(unique)]
    fitted = len(controls) - counting_controls(len(controls))
    return NullBank(
        model=model,
        model_fingerprint=model_fingerprint,
        protocol=protocol,
        seed=seed,
        source=source,
        made=made,
        fit=controls[:fitted],
        controls=controls[fitted:],
    )
