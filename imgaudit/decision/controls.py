"""Controls: images known not to be in the training set, and what the procedure gave on each."""

from pydantic import Field

from imgaudit.decision.blind_baseline import describe_text
from imgaudit.decision.pair_nulls import closest
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.schema.records import ErrorCurvePoint, Legs, Measurement, Record, Rung, Skipped


class ControlSeed(Record):
    """One generated image of a control: what decides a hit, and nothing else."""

    similarity: float
    """Of the deciding descriptor."""
    distance: float
    """Of the deciding metric."""
    guidance_scale: float
    """Scale it was sampled with."""
    legs: Legs | None = Field(None, exclude_if=lambda value: value is None)
    """Of its comparison in parts; absent where it was not compared so."""


class ControlSource(Record):
    """One population of controls: where they came from, and which they are."""

    note: str
    """Where they came from and why they cannot have been in the training set."""
    made: str
    """UTC time of the calibration."""
    seed: int
    """Run seed of the calibration."""
    sha256s: list[str]
    """Hashes of their files, sorted."""


class Control(Record):
    """What the procedure gave on one control."""

    sha256: str
    """Of the control's file; a target with the same hash is no control for itself."""
    complexity: float
    """log(PNG bytes per pixel)."""
    log_ratio: float | Skipped
    """Score before residualisation."""
    by_timestep: list[ErrorCurvePoint]
    """Error curve, for the band drawn in reports."""
    features: dict[str, float]
    """What the blind baseline sees of the image."""
    text_features: dict[str, float]
    """What the blind baseline sees of the caption; empty without one."""
    vae_error: float
    """Relative error of the autoencoder on the image."""
    pdq: str
    """PDQ hash of the whole image."""
    rungs: dict[Rung, list[ControlSeed]]
    """Scored replicas per rung."""
    invmm: float | Skipped | None = Field(None, exclude_if=lambda value: value is None)
    """InvMM's divergence per dimension; Skipped where it did not succeed, absent where it was not measured."""

    def best(self, rung: Rung) -> float | None:
        """Highest similarity over all seeds and scales of a rung."""
        return max((seed.similarity for seed in self.rungs.get(rung, [])), default=None)

    def nearest(self, rung: Rung) -> float | None:
        """Lowest distance over all seeds and scales of a rung."""
        return min((seed.distance for seed in self.rungs.get(rung, [])), default=None)

    def closest_part(self, rung: Rung) -> Legs | None:
        """Of the seed that follows the control most closely in parts, over all seeds and scales of a rung."""
        return closest([seed.legs for seed in self.rungs.get(rung, []) if seed.legs])


def make_control(measurement: Measurement) -> Control:
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
                legs=replica.part and Legs(geometric=replica.part.geometric, photometric=replica.part.photometric),
            )
            for replica in measured.valid
            if not isinstance(replica.similarity, Skipped) and not isinstance(replica.distance, Skipped)
        ]
    error = measurement.error
    caption = measurement.ladder(Rung.CAPTION)
    return Control(
        sha256=measurement.sha256,
        complexity=measurement.complexity,
        log_ratio=measurement.log_ratio,
        by_timestep=[] if isinstance(error, Skipped) else error.by_timestep,
        features=measurement.features,
        text_features={} if isinstance(caption, Skipped) else describe_text(caption.texts[0]),
        vae_error=measurement.vae_error,
        pdq=measurement.pdq,
        rungs=rungs,
        invmm=measurement.invmm.kl_per_dimension if measurement.invmm else None,
    )
