"""A score table decided by the present rule: the audit's own code on the numbers that were kept of every image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from imgaudit.benchmark.harness.score_table import RungScore, ScoreRow, ScoreTable
from imgaudit.benchmark.verdicts.bank import bank_of
from imgaudit.decision.coincidence import CrossMatches
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.schema.baseline import Baseline
from imgaudit.schema.findings import Finding
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import (
    TEXT_RUNGS,
    ErrorMeasurement,
    Measurement,
    Replica,
    Rung,
    RungMeasurement,
    Skipped,
)

TAKEN = "an alarm, when the image was measured"


@dataclass(frozen=True)
class KeptCoincidence(CrossMatches):
    """Coincidence p-values as a table kept them, in place of the images that they were computed from."""

    p_values: Mapping[str, float] = field(default_factory=dict)
    """Per id of a target."""

    @property
    def pairs(self) -> int:
        """Number of unrelated pairs: enough for the smallest of the p-values."""
        return round(1 / min(self.p_values.values())) if self.p_values else 0

    def __contains__(self, image_id: str) -> bool:
        return image_id in self.p_values

    def coincidence_p_value(self, image_id: str) -> float | None:
        """Return the p-value that was kept."""
        return self.p_values[image_id]

    def resembling(self, image_id: str) -> list[tuple[str, float]]:
        """Return nothing: which other targets were resembled was not kept."""
        return []


def decide_again(table: ScoreTable, *, captions: bool = True) -> ScoreTable:
    """Return the table with the verdicts, q-values and claims of the present rule.

    All images are one folder, judged by the table's bank. An image whose p-value was taken away stays without one.

    captions:  False leaves out what texts gave, as if no image had one
    """
    rows = [row if captions else _without_texts(row) for row in table.rows]
    measurements = [_measurement_of(row, table) for row in rows]
    crossed = {rung: _coincidence(rows, rung) for rung in TEXT_RUNGS if any(rung in row.rungs for row in rows)}
    policy = Policy(level=table.level, copy_level=table.level)
    evidence = Evidence(bank_of(table, table.controls), table.protocol, policy, cross_matches=crossed)
    findings = decide(measurements, evidence)
    decided = [_decided(row, finding) for row, finding in zip(rows, findings, strict=True)]
    return table.model_copy(update={"rows": decided})


def _without_texts(row: ScoreRow) -> ScoreRow:
    rungs = {rung: score for rung, score in row.rungs.items() if rung not in TEXT_RUNGS}
    return row.model_copy(update={"rungs": rungs, "caption_log_ratio": None})


def _coincidence(rows: Sequence[ScoreRow], rung: Rung) -> KeptCoincidence:
    known = {row.sha256[:16]: p for row in rows if rung in row.rungs and (p := row.rungs[rung].p_value) is not None}
    return KeptCoincidence(list(known), np.empty((0, 0)), p_values=known)


def _measurement_of(row: ScoreRow, table: ScoreTable) -> Measurement:
    error = _error_of(row.conditional, row.log_ratio, table.baseline)
    compared, under_caption = error.null, row.caption_log_ratio
    return Measurement(
        id=row.sha256[:16], path=row.sha256, sha256=row.sha256, width=1, height=1, notes=[],
        complexity=row.complexity, vae_floor={DECIDING_DESCRIPTOR: 1.0}, vae_error=1.0, features=row.features, pdq="",
        made_by=TAKEN if row.p_value is None else "", loss_curve=[], error=error,
        caption_error=None if under_caption is None
        else _error_of(compared / float(np.exp(under_caption)), under_caption, table.baseline),
        rungs={rung: _rung_of(row, rung, score, table.protocol) for rung, score in row.rungs.items()},
        seconds=row.seconds, network_evaluations=row.network_evaluations,
    )  # fmt: skip


def _error_of(conditional: float, log_ratio: float, baseline: Baseline) -> ErrorMeasurement:
    return ErrorMeasurement(
        conditional=conditional, null=conditional * float(np.exp(log_ratio)), baseline=baseline, log_ratio=log_ratio,
        win_rate=0.5, draws=2, by_timestep=[],
    )  # fmt: skip


def _rung_of(row: ScoreRow, rung: Rung, score: RungScore, protocol: Protocol) -> RungMeasurement | Skipped:
    scale = protocol.generation.guidance_scales[0]
    texts = [row.text] * (protocol.ladder.paraphrases if rung is Rung.PARAPHRASE else 1)
    folder = f"images/{row.sha256[:16]}/replicas"
    pairs = zip(score.seeds.similarities, score.seeds.distances, strict=True)
    return RungMeasurement(
        texts=texts, cut_tokens={},
        replicas=[
            Replica(
                seed=seed, guidance_scale=scale, path=f"{folder}/{rung.value}-g3-{seed:04d}.png",
                similarity={DECIDING_DESCRIPTOR: similarity}, distance={DECIDING_DISTANCE: distance},
            )
            for seed, (similarity, distance) in enumerate(pairs)
        ],
    )  # fmt: skip


def _decided(row: ScoreRow, finding: Finding) -> ScoreRow:
    ladder = {one.rung: one for one in finding.replication}
    rungs = {
        rung: score.model_copy(update={"hits": ladder[rung].hits, "stands": ladder[rung].stands})
        for rung, score in row.rungs.items()
    }
    q_value = None if isinstance(finding.q_value, Skipped) else finding.q_value
    return row.model_copy(update={"verdict": finding.verdict, "q_value": q_value, "rungs": rungs})
