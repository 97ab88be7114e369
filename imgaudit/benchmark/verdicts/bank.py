"""Null banks made again from the rows of a score table."""

from collections.abc import Sequence

from imgaudit.benchmark.harness.score_table import ControlRow, ScoreTable
from imgaudit.decision.controls import Control, ControlSeed
from imgaudit.decision.null_bank import NullBank


def bank_of(table: ScoreTable, controls: Sequence[ControlRow]) -> NullBank:
    """Return the null bank of rows of controls; without error curves, hashes and what captions look like."""

    def control(row: ControlRow) -> Control:
        scale = table.protocol.generation.guidance_scales[0]
        return Control(
            sha256=row.sha256, complexity=row.complexity, log_ratio=row.log_ratio,
            baseline=table.baseline, caption_log_ratio=row.caption_log_ratio, by_timestep=[], features=row.features,
            text_features={}, vae_error=0.0, pdq="",
            rungs={
                rung: [
                    ControlSeed(similarity=similarity, distance=distance, guidance_scale=scale)
                    for similarity, distance in zip(seeds.similarities, seeds.distances, strict=True)
                ]
                for rung, seeds in row.rungs.items()
            },
        )  # fmt: skip

    return NullBank(
        model=table.lab,
        model_fingerprint=table.model_fingerprint,
        protocol=table.protocol,
        sources=[],
        kept_out=[control(row) for row in controls if row.kept_out],
        controls=[control(row) for row in controls if not row.kept_out],
    )
