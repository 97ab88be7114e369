"""Controls: images that cannot have been in the training set, as far as the owner knows; each with its measurements."""

from collections import Counter
from collections.abc import Collection
from typing import Literal
from typing import Protocol as Interface

from pydantic import Field
from pydantic.dataclasses import dataclass

from imgaudit.decision.blind_baseline import describe_text
from imgaudit.decision.pair_nulls import find_closest
from imgaudit.schema.baseline import Baseline
from imgaudit.schema.image_scores import FirstLook
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE, find_copy_similarity
from imgaudit.schema.records import (
    SLOTTED,
    ErrorCurvePoint,
    Legs,
    Measurement,
    NotAsked,
    Record,
    Rung,
    RungMeasurement,
    Skipped,
)


@dataclass(frozen=True, slots=True, kw_only=True, config=SLOTTED)
class ControlSeed:
    """One generated image of a control, reduced to what decides whether it is a copy."""

    similarity: float
    """Similarity by the deciding descriptor; higher is closer."""
    distance: float
    """Distance by the deciding metric; lower is closer."""
    guidance_scale: float
    """Guidance scale it was sampled with."""
    text: int = Field(default=0, exclude_if=lambda value: value == 0)
    """Number of the rung's text that it was asked with; 0 in banks that did not keep it."""
    legs: Legs | None = Field(default=None, exclude_if=lambda value: value is None)
    """Result of its comparison in parts; absent where it was not compared in parts."""
    copy_similarity: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """Similarity by the copy descriptor; higher is closer. Absent where there was none."""


class ControlSource(Record):
    """One set of controls with its origin."""

    note: str
    """Origin of the controls, and why they cannot have been in the training set."""
    made: str
    """UTC time of the calibration."""
    seed: int
    """Run seed of the calibration."""
    sha256s: list[str]
    """SHA-256 of the files that were measured, sorted."""
    same_works: list[str] = Field([], exclude_if=lambda value: not value)
    """SHA-256 of the files that were not measured, because each is of the same work as one that was: a near copy, or
    another image of a series. Sorted; banks of older versions measured every file."""


class Scored(Interface):
    """A control or a target: whatever has a score."""

    @property
    def complexity(self) -> float:
        """Detail of the image: log(PNG bytes per pixel)."""

    @property
    def log_ratio(self) -> float | Skipped:
        """Score before the effect of complexity is removed; higher = more memorised."""


class Control(Record):
    """The measurements of one control."""

    sha256: str
    """SHA-256 of the file; a target with the same hash is never compared with it."""
    complexity: float
    """Detail of the image: log(PNG bytes per pixel)."""
    log_ratio: float | Skipped
    """Score before the effect of complexity is removed; higher = more memorised."""
    baseline: Baseline = Field("null", exclude_if=lambda value: value == "null")
    """The baseline of its scores, named where it is not the null condition."""
    caption_log_ratio: float | None = Field(None, exclude_if=lambda value: value is None)
    """The same under the control's caption; absent without one, and in banks that did not keep it."""
    first_look: FirstLook | None = Field(None, exclude_if=lambda value: value is None)
    """The score after a part of its search; absent in banks of versions that took no first look."""
    by_timestep: list[ErrorCurvePoint]
    """Denoising error by timestep, for the band drawn in reports."""
    features: dict[str, float]
    """Features of the image for the blind baseline."""
    text_features: dict[str, float]
    """Features of the caption for the blind baseline; empty without a caption."""
    vae_error: float
    """Relative error of the autoencoder on the image."""
    pdq: str = Field(pattern=r"^([0-9a-f]{64})?$")
    """PDQ hash of the whole image; empty where PDQ calls it flat."""
    rungs: dict[Rung, list[ControlSeed]]
    """Scored generated images of each rung."""
    texts: dict[Rung, int] = Field({}, exclude_if=lambda value: not value)
    """Number of texts that each rung was asked with, or would have been where a funnel kept the image from being
    asked; empty in banks that did not keep it."""
    invmm: float | Skipped | None = Field(None, exclude_if=lambda value: value is None)
    """InvMM's divergence per dimension; Skipped where the search failed, absent where it was not measured."""
    invmm_condition: Literal["mixture", "embedding"] | None = Field(None, exclude_if=lambda value: value is None)
    """Kind of condition of that search; absent in banks of earlier versions, whose models always had the same."""

    @property
    def is_asked(self) -> bool:
        """False where a funnel kept the image from being asked: texts are known, but no generated images."""
        return bool(self.rungs) or not self.texts

    @property
    def is_scored(self) -> bool:
        """False where a funnel left the image out after its first look."""
        return self.is_asked or not isinstance(self.log_ratio, Skipped)

    @property
    def is_captioned(self) -> bool:
        """True where the image has a score under its caption, or would have had where its first look left it out."""
        if self.is_scored or self.first_look is None:
            return self.caption_log_ratio is not None
        return self.first_look.caption_log_ratio is not None

    def best(self, rung: Rung) -> float | None:
        """Return the highest similarity over all seeds and scales of a rung; None without any."""
        return max((seed.similarity for seed in self.rungs.get(rung, [])), default=None)

    def best_by_descriptor(self, rung: Rung) -> float | None:
        """Return the highest similarity by the copy descriptor over all seeds and scales of a rung, or None."""
        known = [seed.copy_similarity for seed in self.rungs.get(rung, []) if seed.copy_similarity is not None]
        return max(known, default=None)

    def nearest(self, rung: Rung) -> float | None:
        """Return the lowest distance over all seeds and scales of a rung; None without any."""
        return min((seed.distance for seed in self.rungs.get(rung, [])), default=None)

    def leading(self, rung: Rung, texts: Collection[int] | None = None) -> list[ControlSeed]:
        """List the seeds of a rung at the guidance scale that has most of them, of some of its texts where given."""
        seeds = [seed for seed in self.rungs.get(rung, []) if texts is None or seed.text in texts]
        held = Counter(seed.guidance_scale for seed in seeds)
        scale = max(held, key=lambda one: (held[one], -one), default=None)
        return [seed for seed in seeds if seed.guidance_scale == scale]

    def closest_part(self, rung: Rung) -> Legs | None:
        """Return the closest comparison in parts over all seeds and scales of a rung; None without any."""
        return find_closest([seed.legs for seed in self.rungs.get(rung, []) if seed.legs])


def make_control(measurement: Measurement) -> Control:
    """Reduce the measurement of a control to what a null bank keeps."""
    rungs: dict[Rung, list[ControlSeed]] = {}
    texts: dict[Rung, int] = {}
    for rung, measured in measurement.rungs.items():
        if isinstance(measured, NotAsked):
            texts[rung] = max(1, len(measured.texts))
        if isinstance(measured, Skipped):
            continue
        texts[rung] = max(1, len(measured.texts))
        rungs[rung] = [
            ControlSeed(
                similarity=replica.similarity[DECIDING_DESCRIPTOR],
                distance=replica.distance[DECIDING_DISTANCE],
                guidance_scale=replica.guidance_scale,
                text=replica.text,
                legs=replica.part and Legs(geometric=replica.part.geometric, photometric=replica.part.photometric),
                copy_similarity=find_copy_similarity(replica.similarity),
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
        baseline="null" if isinstance(error, Skipped) else error.baseline,
        caption_log_ratio=None if isinstance(ratio := measurement.caption_log_ratio, Skipped) else ratio,
        first_look=measurement.first_look,
        by_timestep=[] if isinstance(error, Skipped) else error.by_timestep,
        features=measurement.features,
        text_features=describe_text(caption.texts[0]) if isinstance(caption, RungMeasurement | NotAsked) else {},
        vae_error=measurement.vae_error,
        pdq=measurement.pdq,
        rungs=rungs,
        texts=texts,
        invmm=measurement.invmm.kl_per_dimension if measurement.invmm else None,
        invmm_condition=measurement.invmm.condition if measurement.invmm else None,
    )
