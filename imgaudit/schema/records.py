"""The measurements of a run: frozen values, each field described; their JSON is the run folder's format.

Anything not measured is a :class:`Skipped` with its reason, never null, 0 or infinity.
"""

import enum
from math import isfinite
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from imgaudit.schema.baseline import Baseline
from imgaudit.schema.image_scores import FirstLook
from imgaudit.schema.measures import shows_whole
from imgaudit.schema.protocol import Framing

SCHEMA_VERSION: Final = 3
"""Raised whenever a field changes its meaning."""


class Rung(enum.StrEnum):
    """The elicitation ladder: the ways to make a model return an image, easiest for an ordinary user first."""

    PROMPT = "prompt"
    CAPTION = "caption"
    PARAPHRASE = "paraphrase"
    TOKENS = "tokens"
    EMBEDDING = "embedding"
    EMBEDDING_NOISE = "embedding+noise"


TEXT_RUNGS = (Rung.PROMPT, Rung.CAPTION, Rung.PARAPHRASE)
"""Rungs that contain nothing taken from the image's pixels."""

INVERTED_RUNGS = (Rung.EMBEDDING, Rung.TOKENS)
"""Rungs inverted from the image, in the order in which they are tested: the stronger claim after the weaker."""

REPORTED_RUNGS = (Rung.EMBEDDING_NOISE,)
"""Rungs that are shown with their rate beside the controls' and decide nothing: learned noise can carry its image."""

DECIDING_RUNGS = tuple(rung for rung in Rung if rung not in REPORTED_RUNGS)
"""The others, in their order: copy thresholds, nulls, verdicts and the closest image come from them alone."""

REPLICA_PATH = r"^images/[0-9a-f]{16}/replicas/[a-z]+(\+noise)?-g[0-9.e+-]+-[0-9]{4,}\.png$"
"""Pattern of the paths of generated images inside a run folder; no other path is accepted."""


_FIELDS_GIVEN: dict[frozenset[str], set[str]] = {}
"""Every set of fields that some record was given, by itself. Records are frozen, so none of these changes."""


class Record(BaseModel):
    """Base of all records: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def model_post_init(self, context: Any, /) -> None:
        """Share the names of the fields that were given: a set of its own takes a third of a record's memory."""
        given = self.__pydantic_fields_set__
        object.__setattr__(self, "__pydantic_fields_set__", _FIELDS_GIVEN.setdefault(frozenset(given), given))


SLOTTED: Final = ConfigDict(extra="forbid", ser_json_inf_nan="strings")
"""Settings of records that an image has dozens of: dataclasses with slots, as a model takes four times the memory."""


class Skipped(Record):
    """Something that was not measured."""

    skipped: str
    """The reason why it was not measured."""


class NotAsked(Skipped):
    """A rung that an image could have been asked on and was not, because of its score; see `FunnelConfig`."""

    texts: list[str]
    """The prompts that it would have been asked with; none for the embedding rung."""


def is_at_most(value: "float | Skipped", level: float) -> bool:
    """Say whether a number was measured and is at or below a level.

    >>> is_at_most(0.01, 0.05), is_at_most(Skipped(skipped="no controls"), 0.05)
    (True, False)
    """
    return not isinstance(value, Skipped) and value <= level


NOTHING_GIVEN = Skipped(skipped="nothing of the image was given to the model")
"""The reason why a text rung carries no bits of the image."""


class Count(Record):
    """A proportion as counts, with its Clopper-Pearson interval: at 95 %, or at the confidence that a record names."""

    n: int
    """Number of cases: of a rung, the seeds that could be scored."""
    hits: int
    """Number of these that count: of a rung, the copies."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""


class Legs(Record):
    """The two results of comparing a pair of images in parts; see imgaudit.similarity.parts."""

    geometric: float
    """-log10 of how likely chance puts as many features in their places; 0 without a map."""
    photometric: float
    """Textured patches that agree under the map."""


class PartMatch(Legs):
    """A generated image compared with its target in parts."""

    area: float
    """Share of the target's area where the two agree."""
    rest: float | Skipped
    """Correlation of what lies outside of that; low where only a part is a copy. Skipped where there is nothing."""
    target_share: float | None = Field(None, exclude_if=lambda value: value is None)
    """Share of what can be compared in the target that agrees; absent where it was not measured."""
    candidate_share: float | None = Field(None, exclude_if=lambda value: value is None)
    """The same of the generated image."""

    @property
    def is_whole(self) -> bool:
        """True when the generated image shows the whole target: mirrored, moved, enlarged or cropped."""
        return shows_whole(self.target_share, self.candidate_share)


class Frame(Record):
    """The part of a picture that was examined, and how it was made square."""

    framing: Framing
    """crop, pad or squash; never crop-or-pad, which is one of the first two for every image."""
    left: int
    """First column of the part, in pixels of the upright picture."""
    top: int
    """First row of it."""
    right: int
    """Column behind its last one."""
    bottom: int
    """Row behind its last one."""
    share: float
    """Share of the picture's area that the part covers, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True, config=SLOTTED)
class Replica:
    """One generated image, compared with its target."""

    seed: int
    """Seed of its initial noise."""
    guidance_scale: float
    """Guidance it was sampled with."""
    text: int = 0
    """Number of the rung's text that it was asked with."""
    path: str = Field(pattern=REPLICA_PATH)
    """File inside the run folder, and nowhere else."""
    similarity: dict[str, float] | Skipped
    """Per descriptor, higher is closer; Skipped with the reason for a frame that cannot be scored."""
    distance: dict[str, float] | Skipped
    """Per metric, lower is closer."""
    part: PartMatch | None = Field(default=None, exclude_if=lambda value: value is None)
    """Both legs of a comparison in parts; absent where the model's images are too small for one, and for frames that
    cannot be scored."""


class RungMeasurement(Record):
    """All replicas of one rung of one image."""

    texts: list[str]
    """The prompts as sent, in order; none for the embedding rung."""
    bits: float | Skipped = NOTHING_GIVEN
    """Bits that the prompt or the embedding can carry at most, for rungs inverted from the image."""
    cut_tokens: dict[str, int]
    """Per text encoder, how many tokens of the longest text the model never saw; without zeros."""
    characters_read: list[dict[str, int]] = Field([], exclude_if=lambda value: not value)
    """Per text, and per text encoder that cut it, how many of its characters were read; empty where none was cut."""
    replicas: list[Replica]
    """In order of guidance scale, text and seed; with several scales the seeds that chose the scale come first."""

    @property
    def valid(self) -> list[Replica]:
        """Replicas that could be scored."""
        return [replica for replica in self.replicas if not isinstance(replica.similarity, Skipped)]

    def best(self, descriptor: str) -> float | None:
        """Return the highest similarity over all seeds and scales, or None when nothing could be scored."""
        values = [r.similarity[descriptor] for r in self.valid if not isinstance(r.similarity, Skipped)]
        return max(values, default=None)

    def nearest(self, metric: str) -> float | None:
        """Return the lowest distance over all seeds and scales, or None when nothing could be scored."""
        values = [r.distance[metric] for r in self.valid if not isinstance(r.distance, Skipped)]
        return min(values, default=None)


class StreamReplica(Record):
    """One image generated with some of the inverted streams; compared with the target, and not kept."""

    seed: int
    """Seed of its initial noise: one of the embedding rung's."""
    similarity: dict[str, float] | Skipped
    """Per descriptor, higher is closer; Skipped with the reason for a frame that cannot be scored."""
    distance: dict[str, float] | Skipped
    """Per metric, lower is closer."""


class StreamCondition(Record):
    """The inverted embedding with some of its streams put back to where the inversion started."""

    streams: tuple[str, ...]
    """Streams that stayed as they were inverted; none where all were put back."""
    guidance_scale: float
    """Guidance it was sampled with."""
    log_ratio: float | Skipped
    """Mean over the score's draws of log(baseline's error / error under this condition)."""
    replicas: tuple[StreamReplica, ...]
    """On seeds whose frame was a copy with all streams, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True, config=SLOTTED)
class ErrorCurvePoint:
    """Denoising error in one stratum of the timesteps."""

    timestep: float
    """Centre of the stratum."""
    conditional: float
    """Mean squared error under the condition, in the network's own output space."""
    null: float
    """The same under the baseline, on the same draws."""
    draws: int
    """Number of draws in the stratum."""


class ErrorMeasurement(Record):
    """Paired denoising error of one image, under a condition: the inverted embedding, or the image's caption."""

    conditional: float
    """Mean over draws under the condition."""
    null: float
    """Mean over the same draws under the baseline: the null condition, or the start condition."""
    baseline: Baseline = Field("null", exclude_if=lambda value: value == "null")
    """The baseline, named where it is not the null condition; older versions knew no other."""
    log_ratio: float
    """Mean over draws of log(null / conditional); higher = more memorised."""
    win_rate: float
    """Share of draws that the condition predicts better."""
    draws: int
    """Number of paired draws."""
    by_timestep: list[ErrorCurvePoint]
    """The curve."""


class InvMMMeasurement(Record):
    """The distance by which noise had to be moved before the model returned the image (arXiv 2405.05846)."""

    kl_per_dimension: float | Skipped
    """Divergence of the learned noise from standard normal per element of the latent, in nats, at the first success;
    lower = more memorised, 0 = plain noise suffices. Skipped with the reason where no check succeeded."""
    elements: int
    """Elements of the latent: times these, the divergence in all."""
    steps: int
    """Optimisation steps done."""
    condition: Literal["mixture", "embedding"]
    """Kind of the soft condition: mixtures of the model's words, or prompt embeddings where it has no words. The two
    do not compare."""
    network_evaluations: int
    """Passes of one sample through the network for this image."""


class Measurement(Record):
    """Everything measured on one image by one protocol; nothing in it depends on controls."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First 16 hex digits of the SHA-256."""
    path: str
    """Path of the file, as text."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the file's bytes."""
    width: int
    """Pixels, after orientation."""
    height: int
    """Pixels, after orientation."""
    frame: Frame | None = Field(None, exclude_if=lambda value: value is None)
    """The part that was examined; absent in records of older versions, which kept no copy of the owner's picture."""
    notes: list[str]
    """Changes made when reading the file, and the origin of its caption."""
    complexity: float
    """log(PNG bytes per pixel) of the framed image."""
    vae_floor: dict[str, float]
    """Similarity per descriptor of decode(encode(target)) to the target: the ceiling for any replica."""
    vae_error: float
    """RMS of decode(encode(target)) - target over the target's standard deviation; images that the model made have a
    low one."""
    features: dict[str, float]
    """Features of the framed image for the blind baseline; the model has no part in them."""
    pdq: str
    """PDQ hash of the whole image, 64 hexadecimal digits: tells near copies among targets and controls."""
    made_by: str
    """Sign in the file that a generator made it; empty without any."""
    loss_curve: list[float]
    """Inversion loss per step."""
    error: ErrorMeasurement | Skipped
    """Denoising error under the inverted embedding; Skipped where an image was left out after its first look, and in
    records of older versions of models without a null branch."""
    caption_error: ErrorMeasurement | Skipped | None = Field(None, exclude_if=lambda value: value is None)
    """Denoising error under the image's caption, the first one where it has several, on the same draws; Skipped where
    there is no caption. Absent in records of older versions, which did not measure it."""
    first_look: FirstLook | None = Field(None, exclude_if=lambda value: value is None)
    """The score after a part of its search; absent where none was taken."""
    rungs: dict[Rung, RungMeasurement | NotAsked | Skipped]
    """Replicas per rung."""
    stream_conditions: tuple[StreamCondition, ...] = Field((), exclude_if=lambda value: not value)
    """The embedding rung asked again with some of its streams, the first condition having all; empty where the model
    has one stream, the inversion changed one, or no seed gave a copy."""
    invmm: InvMMMeasurement | None = Field(None, exclude_if=lambda value: value is None)
    """InvMM; absent where the protocol does not have it."""
    seconds: float
    """Wall time, the image's share of its chunk."""
    network_evaluations: int
    """Passes of one sample through the network, the image's share."""

    @property
    def is_finite(self) -> bool:
        """True when every number is finite; a model that overflows on an image has not measured it."""
        error = self.error
        errors = () if isinstance(error, Skipped) else (error.conditional, error.null, error.log_ratio)
        looked = (self.first_look.log_ratio,) if self.first_look else ()
        divergence = self.invmm.kl_per_dimension if self.invmm else 0.0
        moved = () if isinstance(divergence, Skipped) else (divergence,)
        return all(isfinite(value) for value in (*self.loss_curve, *errors, *looked, *moved))

    @property
    def log_ratio(self) -> float | Skipped:
        """Mean log(baseline's error / conditional error); higher = more memorised."""
        return self.error if isinstance(self.error, Skipped) else self.error.log_ratio

    @property
    def caption_log_ratio(self) -> float | Skipped:
        """Mean log(baseline's error / error under the caption); higher = more memorised."""
        error = self.caption_error
        if error is None:
            return Skipped(skipped="not measured by the version that measured this image")
        return error if isinstance(error, Skipped) else error.log_ratio

    def closest(self, descriptor: str) -> tuple[Rung, Replica] | None:
        """Return the generated image with the highest similarity over the deciding rungs, the first of equals.

        Returns  the rung and the image; None when none could be scored
        """
        scored = [
            (one.similarity[descriptor], rung, one)
            for rung, measured in self.rungs.items()
            if isinstance(measured, RungMeasurement) and rung in DECIDING_RUNGS
            for one in measured.valid
            if not isinstance(one.similarity, Skipped)
        ]
        if not scored:
            return None
        _, rung, replica = max(scored, key=lambda one: one[0])
        return rung, replica

    @property
    def not_asked(self) -> str:
        """The reason why a funnel kept the image from being asked in all ways; empty where none did."""
        return next((one.skipped for one in self.rungs.values() if isinstance(one, NotAsked)), "")

    def ladder(self, rung: Rung) -> RungMeasurement | Skipped:
        """Return the measurement of one rung; Skipped also when the protocol did not have it."""
        return self.rungs.get(rung, Skipped(skipped=f"the protocol has no {rung.value} rung"))


class SkippedImage(Record):
    """A file that could not be measured."""

    path: str
    """Path of the file, as text."""
    skipped: str
    """The reason why it could not be measured."""
    sha256: str = Field("", exclude_if=lambda value: not value)
    """SHA-256 of the file's bytes; empty where they could not be read, and in runs of older versions."""
    passing: bool = False
    """True when the file may be there again: a continued audit tries once more."""
