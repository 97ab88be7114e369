"""The score table of a lab: a row per image, small enough to commit, enough to redo every statistic without a model."""

from collections.abc import Callable, Iterable

from pydantic import Field

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.table import Table
from imgaudit.schema.baseline import Baseline
from imgaudit.schema.findings import Verdict
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Record, Rung

DIGITS = 5
"""Digits of the similarities and distances that are kept: committed tables should stay small."""


class Seeds(Record):
    """What every seed of a rung gave, in order."""

    similarities: list[float]
    """Of the deciding descriptor, to five digits."""
    distances: list[float]
    """Of the deciding metric, to five digits."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> "Seeds":
        """From (similarity, distance) pairs."""
        kept = [(round(similarity, DIGITS), round(distance, DIGITS)) for similarity, distance in pairs]
        return cls(similarities=[one[0] for one in kept], distances=[one[1] for one in kept])

    def count(self, is_copy: Callable[[float, float], bool]) -> int:
        """Seeds that are copies by a rule over similarity and distance."""
        return sum(is_copy(*pair) for pair in zip(self.similarities, self.distances, strict=True))


class RungScore(Record):
    """What one rung gave."""

    hits: int
    """Seeds that made a copy."""
    n: int
    """Seeds that could be scored."""
    best: float | None
    """Highest pixel similarity; None when no seed could be scored."""
    p_value: float | None
    """Of this rung alone, before any correction: coincidence's for a text where there is one, else against the
    controls; None where there is neither."""
    bits: float | None
    """What was given of the image at most; None for text rungs."""
    stands: bool
    """Whether the rung reproduces the image by the whole rule."""
    seeds: Seeds
    """Every seed that could be scored, so that what another bank would say of it can be computed."""


class ControlRow(Record):
    """One control of the bank."""

    sha256: str
    """Of the file."""
    kept_out: bool
    """Whether it only fits complexity and checks the rule."""
    text: str
    """Caption; empty where it had none."""
    complexity: float
    """log(PNG bytes per pixel)."""
    log_ratio: float
    """Mean log(baseline's error / conditional error)."""
    caption_log_ratio: float | None = Field(None, exclude_if=lambda value: value is None)
    """The same under the caption; absent where it was not measured."""
    features: dict[str, float]
    """What the blind baseline sees of the image, to five digits."""
    nearest_similarity: float | None = Field(None, exclude_if=lambda value: value is None)
    """Pixel correlation with the nearest image that the lab was trained on; absent for other controls."""
    rungs: dict[Rung, Seeds]
    """Every seed of every rung."""


class ScoreRow(Record):
    """One image: its truth and what the audit said of it."""

    sha256: str
    """Of the file."""
    group: Group
    """Truth, by the lab."""
    text: str
    """Caption."""
    repeats: int
    """How often it was repeated in training."""
    reproduced: int
    """Seeds, of 64 or in vain of 16, that gave it back in the lab's own measurement; 0 where that was not measured."""
    nearest_similarity: float
    """Pixel correlation with the nearest image that the lab was trained on, other than itself."""
    complexity: float
    """log(PNG bytes per pixel)."""
    conditional: float
    """Mean error under the inverted embedding."""
    log_ratio: float
    """Mean log(baseline's error / conditional error)."""
    caption_log_ratio: float | None = Field(None, exclude_if=lambda value: value is None)
    """The same under the caption; absent where it was not measured."""
    score: float
    """log_ratio, adjusted for complexity by the bank's line."""
    p_value: float | None
    """Of the score alone, against the bank; None when it was taken away."""
    caption_score: float | None = Field(None, exclude_if=lambda value: value is None)
    """caption_log_ratio, adjusted for complexity by the bank's line of these; absent without it."""
    caption_p_value: float | None = Field(None, exclude_if=lambda value: value is None)
    """Of this score alone, against the bank's; absent without one, and when it was taken away."""
    q_value: float | None
    """Of the image's test, over the images of this table; by the rule of the version that measured it."""
    verdict: Verdict
    """What the audit concluded, by the rule of the version that measured it."""
    features: dict[str, float]
    """What the blind baseline sees of the image, to five digits."""
    rungs: dict[Rung, RungScore]
    """Rungs that were measured."""
    network_evaluations: int
    """Spent on the image."""
    seconds: float
    """Spent on the image."""


class ScoreTable(Table):
    """All rows of one benchmark run, and what they rest on."""

    long_lists = ("controls", "rows")

    schema_version: int = 2
    """Version of this format."""
    lab: str
    """Lab model."""
    model_fingerprint: str
    """Its weights."""
    protocol: Protocol
    """What every control and image met."""
    baseline: Baseline = Field("null", exclude_if=lambda value: value == "null")
    """What errors are compared with, named where it is not the null condition."""
    seed: int
    """Run seed."""
    level: float
    """Level of p-values, thresholds and false discovery."""
    hardware: str
    """Machine, device and threads."""
    controls: list[ControlRow]
    """The bank and the controls kept out of it, in order of SHA-256; none of them has a row."""
    rows: list[ScoreRow]
    """In order of SHA-256."""

    @property
    def bank(self) -> list[ControlRow]:
        """Controls that p-values count."""
        return [control for control in self.controls if not control.kept_out]

    def of(self, group: Group) -> list[ScoreRow]:
        """Rows of one group."""
        return [row for row in self.rows if row.group is group]


class ControlTable(Table):
    """Controls of another population than a score table's, under the same model and protocol."""

    long_lists = ("controls",)

    schema_version: int = 1
    """Version of this format."""
    note: str
    """Where they came from."""
    model_fingerprint: str
    """The model."""
    protocol: Protocol
    """What every control met."""
    seed: int
    """Run seed of the calibration."""
    controls: list[ControlRow]
    """The bank and the controls kept out of it."""
