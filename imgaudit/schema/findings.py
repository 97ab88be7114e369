"""The conclusions of a run: frozen values, each field described; their JSON is report.json."""

import enum
from collections.abc import Sequence
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, field_serializer, model_validator

from imgaudit.schema.caption_score import CaptionScore
from imgaudit.schema.error_checks import TOO_FEW_TO_FIRE, ForcingCheck, RateInterval
from imgaudit.schema.model_checks import ModelChecks
from imgaudit.schema.pairs import PairEvidence
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import (
    SCHEMA_VERSION,
    ErrorMeasurement,
    InvMMMeasurement,
    Record,
    Rung,
    Skipped,
)
from imgaudit.schema.replication import Replication
from imgaudit.schema.set_level import SetLevel

WORDING_VERSION = 10
"""Raised when the sentences in findings are reworded, or coincidence is counted in another way, while verdicts, codes
and all other numbers stay the same."""


class Verdict(enum.StrEnum):
    """The possible conclusions on one image."""

    REPLICATED = "replicated"
    REPLICATED_BY_INVERSION = "replicated_by_inversion"
    PARTIAL = "partial"
    ATYPICAL = "atypical"
    NOT_REPRODUCED = "not_reproduced"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"

    @property
    def label(self) -> str:
        """The verdict in words."""
        return _VERDICT_LABELS[self]


_VERDICT_LABELS = {
    Verdict.REPLICATED: "Replicated from text",
    Verdict.REPLICATED_BY_INVERSION: "Replicated by inversion",
    Verdict.PARTIAL: "Partly replicated",
    Verdict.ATYPICAL: "Unlike the controls",
    Verdict.NOT_REPRODUCED: "Not reproduced",
    Verdict.INCONCLUSIVE: "Inconclusive",
    Verdict.SKIPPED: "Not measured",
}


class AlarmCode(enum.StrEnum):
    """The reasons why a p-value can mean less than it says."""

    BLIND_BASELINE = "blind_baseline"
    BLIND_CAPTIONS = "blind_captions"
    TRAINED_CONTROLS = "trained_controls"
    TOO_FEW_CONTROLS = "too_few_controls"
    NEAR_DUPLICATES = "near_duplicates"
    NEAR_CONTROLS = "near_controls"
    MADE_BY_A_MODEL = "made_by_a_model"
    NO_NULL_BRANCH = "no_null_branch"
    AUTOENCODER = "autoencoder"
    CUT_CAPTION = "cut_caption"
    INVALID_FRAMES = "invalid_frames"
    FORCED_CONTROLS = "forced_controls"
    MODEL_CHECK = "model_check"


class AlarmEffect(enum.StrEnum):
    """The effect of an alarm on p-values. Near-identical images that a text returns stand whatever the alarm."""

    TAKES_P_VALUES = "takes_p_values"
    """They are not used: the comparison with controls is not valid."""
    WEAKENS_NEGATIVES = "weakens_negatives"
    """They may be too large: significant results stand, the others are inconclusive."""
    WARNS = "warns"
    """They stay valid; the reader is told."""


class Alarm(Record):
    """Something that weakens a conclusion."""

    code: AlarmCode
    """Kind of alarm."""
    effect: AlarmEffect
    """Effect of the alarm."""
    message: str
    """Message for the reader, with its numbers."""


class NearDuplicate(Record):
    """Another target that is a near copy of this one, or that a replica resembles."""

    id: str
    """Id of the other target."""
    similarity: float
    """Similarity by the deciding descriptor; higher is closer."""


class ReferenceMatch(Record):
    """An image of a reference collection."""

    id: str
    """Name in the collection."""
    path: str
    """The file it was made from, or empty."""
    similarity: float
    """Similarity by the collection's descriptor; higher is closer."""
    view: str = ""
    """View of the target that matched, such as its mirror image; empty where only the whole image was searched."""


class ReferenceFinding(Record):
    """The search for one image in a reference collection."""

    near_copies: int
    """Images there at or above the similarity that counts as a near copy."""
    counted_all: bool
    """True when counting went on to the end."""
    best: float
    """Highest similarity of anything there."""
    p_value: float | Skipped
    """Conformal, of the best similarity against the controls' best in the same collection."""
    nearest: list[ReferenceMatch]
    """Near copies, nearest first, at most ten."""


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


class PartEvidence(Record):
    """The area where target and generated image agree, for the closest image of the lowest rung that returns a part."""

    rung: Rung
    """Rung it came from."""
    path: str
    """File inside the run folder."""
    seed: int
    """Seed of its initial noise."""
    pair: PairEvidence
    """Both legs, how one lies over the other, and where they agree."""
    is_tested: bool = Field(True, exclude_if=lambda value: value)
    """False when the two do not agree beyond what the controls give, and the copy descriptor told the copy."""


class InvMMFinding(InvMMMeasurement):
    """InvMM's measurement with its rank among the controls; it has no part in the verdict."""

    p_value: float | Skipped
    """Conformal, of the divergence against the controls' (failures last); of this image alone, not corrected over the
    folder."""


class Finding(Record):
    """The conclusion on one image."""

    id: str
    """First 16 hex digits of the SHA-256; for unreadable files, of the path's."""
    path: str
    """Path of the file, as text."""
    sha256: str
    """Empty for a file that could not be read."""
    verdict: Verdict
    """The verdict; see Verdict."""
    reason: str
    """The verdict in one sentence, with its numbers."""
    rung: Rung | Skipped
    """The lowest rung that reproduced the image, or part of it where the verdict is partial."""
    score: float | Skipped
    """Log ratio, residualised on complexity; higher = more memorised."""
    score_p_value: float | Skipped = Skipped(skipped="not kept by the version that made this report")
    """Conformal p-value of the score alone. It is shown, and decides only as a part of the image's test."""
    caption_score: CaptionScore | Skipped | None = Field(None, exclude_if=lambda value: value is None)
    """Score under the image's caption, the first one where it has several; Skipped without a caption. Absent in reports
    of older versions, which did not measure it."""
    p_value: float | Skipped
    """Conformal p-value of the image's test, which sees score, copies and parts together."""
    q_value: float | Skipped
    """q-value of the image's test over the folder, by the policy's correction. Every finding against the controls
    needs it at or below the level, so that one level holds for all of them together."""
    group: str
    """Id of the near-duplicate that represents this image in the folder's correction; its own when it has none."""
    replication: list[Replication]
    """Per rung measured."""
    error: ErrorMeasurement | Skipped
    """Denoising error."""
    best_replica: BestReplica | Skipped
    """Closest generated image."""
    part: PartEvidence | None = Field(None, exclude_if=lambda value: value is None)
    """Place where a part of it came back; absent unless a rung returned one beyond chance."""
    near_duplicates: list[NearDuplicate]
    """Other targets that are near copies of this one."""
    resembles_others: list[NearDuplicate]
    """Other targets that replicas of this one resemble more than it."""
    reference: ReferenceFinding | Skipped | None = Field(None, exclude_if=lambda value: value is None)
    """Result of the search in the collection given with --reference; absent without one."""
    invmm: InvMMFinding | None = Field(None, exclude_if=lambda value: value is None)
    """InvMM; absent where it was not measured."""
    scored_only: bool = Field(False, exclude_if=lambda value: value is False)
    """True where a funnel kept the image from being asked: it has a score, and nothing was generated for it."""
    alarms: list[Alarm]
    """Alarms that weaken the conclusion."""
    seconds: float
    """Wall time."""
    network_evaluations: int
    """Passes of one sample through the network."""


class Summary(Record):
    """The run in numbers."""

    targets: int
    """Files given."""
    counts: dict[Verdict, int]
    """Number of images with each verdict; they add up to `targets`."""
    controls: int
    """Controls in the null bank that count in p-values: one per work, without near copies of targets."""
    control_files: int | None = Field(None, exclude_if=lambda value: value is None)
    """Files that the controls come from, near copies included; absent in reports of older versions."""
    control_works: int | None = Field(None, exclude_if=lambda value: value is None)
    """Works that these files show, those kept out of the bank included; absent in reports of older versions."""
    level: float
    """False discovery rate and copy level."""
    planner: str
    """A sentence that says whether the controls are enough."""
    false_positive: RateInterval | Skipped
    """False-positive rate per image at p <= level given this bank, with its 95 % interval; Skipped where no p-value can
    reach the level."""
    forcing: ForcingCheck | Skipped
    """The rule applied to controls outside the bank."""
    hypotheses: int
    """Images that count in the folder's correction: measured ones, near-duplicates counted once."""
    alarms: list[Alarm]
    """Alarms that weaken the whole run."""
    scored_only: int = Field(0, exclude_if=lambda value: value == 0)
    """Images that a funnel kept from being asked: they have a score, and nothing was generated for them."""
    blind_comparison: str | None = Field(None, exclude_if=lambda value: value is None)
    """A sentence that says what of targets and controls was compared without the model; absent without controls and in
    reports of older versions."""
    set_level: SetLevel | Skipped | None = Field(None, exclude_if=lambda value: value is None)
    """The test of the whole portfolio as one set; absent in reports of older versions."""
    seconds: float
    """Wall time of the measurements."""
    network_evaluations: int
    """Passes of one sample through the network."""
    model_checks: ModelChecks | None = Field(None, exclude_if=lambda value: value is None)
    """Checks of the model before the audit; absent in runs made before models were checked."""

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        """Take reports of older versions, which hold an interval even where no p-value can reach the level."""
        if not isinstance(values, dict) or "false_positive_low" not in values:
            return values
        rest = {key: value for key, value in values.items() if not key.startswith("false_positive_")}
        interval = {end: values.get(f"false_positive_{end}") for end in ("low", "high")}
        controls, level = rest.get("controls"), rest.get("level")
        fires = isinstance(controls, int) and isinstance(level, float) and level * (controls + 1) >= 1 - 1e-9
        return rest | {"false_positive": interval if fires else TOO_FEW_TO_FIRE}


class AuditResult(Record):
    """report.json: the machine's view of a run, from which every other format is rendered."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format."""
    wording: int = 1
    """Version of the sentences in it; reports written before this was recorded have 1."""
    run: dict[str, Any]
    """The manifest of the run."""
    protocol: Protocol
    """The protocol every target and control met."""
    policy: Policy
    """The policy that turned measurements into verdicts."""
    redecided: list[str]
    """Differences of this policy from the one fixed before the run; empty when it is the same."""
    summary: Summary
    """Counts."""
    findings: Sequence[Finding]
    """One per file given; in results that were read or decided, `StoredFindings`."""

    @field_serializer("findings", mode="wrap")
    def _dump_findings(self, findings: Sequence[Finding], dump: SerializerFunctionWrapHandler) -> Any:
        return dump(list(findings))

    def _repr_html_(self) -> str:
        """Show the result as a table in a notebook."""
        # The table is made of the classes of this file.
        from imgaudit.schema.result_table import result_table_html

        return result_table_html(self)
