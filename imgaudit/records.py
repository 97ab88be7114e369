"""What a run records: frozen values, each field described; their JSON is the run folder's format.

What was not measured is a :class:`Skipped` with its reason, never null, 0 or infinity.
"""

import enum
from math import isfinite
from typing import Any

from pydantic import BaseModel, ConfigDict

from imgaudit.config import Protocol

SCHEMA_VERSION = 1
"""Raised whenever a field changes its meaning."""


class Rung(enum.StrEnum):
    """The elicitation ladder: what it takes to get an image out, easiest for an ordinary user first."""

    PROMPT = "prompt"
    CAPTION = "caption"
    EMBEDDING = "embedding"


TEXT_RUNGS = (Rung.PROMPT, Rung.CAPTION)
"""Rungs that contain nothing taken from the image's pixels."""


class Verdict(enum.StrEnum):
    """What can be said about one image."""

    REPLICATED = "replicated"
    REPLICATED_BY_INVERSION = "replicated_by_inversion"
    PARTIAL = "partial"
    ATYPICAL = "atypical"
    NOT_REPRODUCED = "not_reproduced"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


class Record(BaseModel):
    """Base of all records: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Skipped(Record):
    """Something that was not measured."""

    skipped: str
    """Why."""


class Replica(Record):
    """One generated image, compared with its target."""

    seed: int
    """Seed of its initial noise."""
    guidance_scale: float
    """Guidance it was sampled with."""
    path: str
    """File inside the run folder; empty when only the numbers were kept (null banks)."""
    similarity: dict[str, float] | Skipped
    """Per descriptor, higher is closer; Skipped with the reason for a frame that cannot be scored."""
    distance: dict[str, float] | Skipped
    """Per metric, lower is closer."""


class RungMeasurement(Record):
    """All replicas of one rung of one image."""

    text: str
    """The prompt as sent; empty for rungs that are not text."""
    cut_tokens: int
    """How many of its tokens the model never saw."""
    replicas: list[Replica]
    """In order of guidance scale and seed."""

    @property
    def valid(self) -> list[Replica]:
        """Replicas that could be scored."""
        return [replica for replica in self.replicas if not isinstance(replica.similarity, Skipped)]

    def best(self, descriptor: str) -> float | None:
        """Highest similarity over all seeds and scales, or None when nothing could be scored."""
        values = [r.similarity[descriptor] for r in self.valid if not isinstance(r.similarity, Skipped)]
        return max(values, default=None)

    def nearest(self, metric: str) -> float | None:
        """Lowest distance over all seeds and scales, or None when nothing could be scored."""
        values = [r.distance[metric] for r in self.valid if not isinstance(r.distance, Skipped)]
        return min(values, default=None)


class ErrorCurvePoint(Record):
    """Denoising error in one stratum of the timesteps."""

    timestep: float
    """Centre of the stratum."""
    conditional: float
    """Mean squared error under the inverted embedding, in the network's own output space."""
    null: float
    """The same under the null condition, on the same draws."""
    draws: int
    """Number of draws in the stratum."""


class ErrorMeasurement(Record):
    """Paired denoising error of one image."""

    conditional: float
    """Mean over draws under the inverted embedding."""
    null: float
    """Mean over the same draws under the null condition."""
    log_ratio: float
    """Mean over draws of log(null / conditional); higher = more memorised."""
    win_rate: float
    """Share of draws the embedding predicts better."""
    draws: int
    """Number of paired draws."""
    by_timestep: list[ErrorCurvePoint]
    """The curve."""


class Measurement(Record):
    """Everything measured on one image by one protocol; nothing in it depends on controls."""

    id: str
    """First 16 hex digits of the SHA-256."""
    path: str
    """Where the file was, as text."""
    sha256: str
    """Of the file's bytes."""
    width: int
    """Pixels, after orientation."""
    height: int
    """Pixels, after orientation."""
    notes: list[str]
    """What reading the file changed."""
    complexity: float
    """log(PNG bytes per pixel) of the framed image."""
    vae_floor: dict[str, float]
    """Similarity per descriptor of decode(encode(target)) to the target: the ceiling for any replica."""
    loss_curve: list[float]
    """Inversion loss per step."""
    error: ErrorMeasurement
    """Denoising error under the inverted embedding."""
    rungs: dict[Rung, RungMeasurement | Skipped]
    """Replicas per rung."""
    seconds: float
    """Wall time, the image's share of its chunk."""
    network_evaluations: int
    """Passes of one sample through the network, the image's share."""

    @property
    def is_finite(self) -> bool:
        """Whether every number is one; a model that overflows on an image has not measured it."""
        error = self.error
        return all(isfinite(value) for value in (*self.loss_curve, error.conditional, error.null, error.log_ratio))


class SkippedImage(Record):
    """A file that could not be measured."""

    path: str
    """Where it was, as text."""
    skipped: str
    """Why."""


class Replication(Record):
    """How often a rung reproduced the image."""

    rung: Rung
    """Which rung."""
    n: int
    """Seeds that could be scored."""
    hits: int
    """Of these, copies."""
    invalid: int
    """Seeds whose frame could not be scored."""
    rate: float
    """hits / n."""
    low: float
    """Clopper-Pearson 95 %."""
    high: float
    """Clopper-Pearson 95 %."""
    upper_bound: float
    """One-sided 95 % upper bound."""
    guidance_scale: float
    """The scale with the most hits."""
    best_similarity: float
    """Maximum over seeds and scales of the deciding descriptor."""
    p_value: float | Skipped
    """Conformal, of the best similarity against the controls' same maximum."""
    q_value: float | Skipped
    """Benjamini-Hochberg over the folder."""
    coincidence_p_value: float | Skipped
    """Against the same generations compared with every other target; needs no controls. Text rungs only."""
    coincidence_q_value: float | Skipped
    """Benjamini-Hochberg over the folder."""
    thresholds: dict[str, float] | Skipped
    """What a seed had to exceed (similarity) or stay below (distance), from the controls."""
    control_rate: float | Skipped
    """Mean rate among controls at the same thresholds."""
    null_rung: Rung | Skipped
    """The rung of the controls that this one is compared with: its own, or the next one up that they have."""


class Neighbour(Record):
    """Another target that looks like a copy of this one, or that a replica resembles."""

    id: str
    """Its id."""
    similarity: float
    """Of the deciding descriptor."""


class BestReplica(Record):
    """The generated image closest to the target, over all rungs."""

    rung: Rung
    """Rung it came from."""
    path: str
    """File inside the run folder."""
    seed: int
    """Seed of its initial noise."""
    guidance_scale: float
    """Guidance it was sampled with."""
    similarity: dict[str, float]
    """Per descriptor."""
    distance: dict[str, float]
    """Per metric."""


class Finding(Record):
    """The conclusion on one image."""

    id: str
    """First 16 hex digits of the SHA-256; for unreadable files, of the path's."""
    path: str
    """Where the file was, as text."""
    sha256: str
    """Empty for a file that could not be read."""
    verdict: Verdict
    """See Verdict."""
    reason: str
    """The verdict in one sentence, with its numbers."""
    rung: Rung | Skipped
    """The lowest rung that reproduced the image."""
    score: float | Skipped
    """Log ratio, residualised on complexity; higher = more memorised."""
    p_value: float | Skipped
    """Conformal p-value of the score."""
    q_value: float | Skipped
    """Benjamini-Hochberg over the folder."""
    replication: list[Replication]
    """Per rung measured."""
    error: ErrorMeasurement | Skipped
    """Denoising error."""
    best_replica: BestReplica | Skipped
    """Closest generated image."""
    near_duplicates: list[Neighbour]
    """Other targets that are near copies of this one."""
    resembles_others: list[Neighbour]
    """Other targets that replicas of this one resemble more than it."""
    alarms: list[str]
    """What weakens the conclusion, in words."""
    seconds: float
    """Wall time."""
    network_evaluations: int
    """Passes of one sample through the network."""


class Summary(Record):
    """The run in numbers."""

    targets: int
    """Files given."""
    counts: dict[Verdict, int]
    """How many of each verdict; they add up to `targets`."""
    controls: int
    """Controls in the null bank."""
    level: float
    """False discovery rate and copy level."""
    planner: str
    """What this many controls can find."""
    false_positive_low: float
    """False-positive rate per image at p <= level given this bank, lower end of its 95 % interval."""
    false_positive_high: float
    """Upper end."""
    seconds: float
    """Wall time of the measurements."""
    network_evaluations: int
    """Passes of one sample through the network."""


class AuditResult(Record):
    """report.json: the machine's view of a run, from which every other format is rendered."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format."""
    run: dict[str, Any]
    """The manifest."""
    protocol: Protocol
    """The protocol every target and control met."""
    summary: Summary
    """Counts."""
    findings: list[Finding]
    """One per file given."""
