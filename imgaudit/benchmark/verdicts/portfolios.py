"""Portfolios drawn from a score table, and what the audit's rule says of each: the arithmetic of realised errors.

What is known of one image before the folder is known is computed once, with the bank's own code; many portfolios are
then decided together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from imgaudit.benchmark.harness.score_table import ControlRow, ScoreRow, ScoreTable, Seeds
from imgaudit.decision.controls import Control, ControlSeed
from imgaudit.decision.null_bank import NullBank
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import TEXT_RUNGS, Rung
from imgaudit.statistics import LinearFit, clopper_pearson, conformal_p_values

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

NO_SEEDS = Seeds(similarities=[], distances=[])

LEVELS = (0.05, 0.10)
"""False discovery rates that are asked for."""

MEMORISED, NEVER_TRAINED = 10, 40
"""Images of a portfolio."""

PORTFOLIOS = 2000
"""Portfolios behind a mean."""

RESAMPLES, PORTFOLIOS_EACH = 200, 50
"""Bootstrap samples of the images, and portfolios from each, behind an interval."""


def bank_of(table: ScoreTable, controls: Sequence[ControlRow]) -> NullBank:
    """The null bank that rows of controls stand for; without error curves, hashes and what captions look like."""

    def control(row: ControlRow) -> Control:
        scale = table.protocol.generation.guidance_scales[0]
        return Control(
            sha256=row.sha256, complexity=row.complexity, log_ratio=row.log_ratio, by_timestep=[],
            features=row.features, text_features={}, vae_error=0.0, pdq="",
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


@dataclass(frozen=True)
class Judged:
    """What is known of images before a folder is: one element per image in each array."""

    score_p: Floats
    """p-value of the score; 1 where an alarm took it away."""
    text_p: Floats
    """Smallest p-value over the text rungs, times their number; 1 without a text."""
    inverted: Flags
    """Whether the embedding comes back more often than controls and closer than all but a share of them."""
    texted: Flags
    """Whether a text rung gives a copy."""

    def __len__(self) -> int:
        return len(self.score_p)

    def at(self, places: npt.NDArray[np.int64]) -> "Judged":
        """Images at places, of any shape."""
        return Judged(self.score_p[places], self.text_p[places], self.inverted[places], self.texted[places])

    @classmethod
    def concatenate(cls, parts: Sequence["Judged"]) -> "Judged":
        """Side by side along the last axis: portfolios from several groups."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts], axis=-1)
                for name in ("score_p", "text_p", "inverted", "texted")
            )
        )


def judge(rows: Sequence[ScoreRow], bank: NullBank, policy: Policy) -> Judged:
    """Put rows to a bank.

    Text rungs keep the p-values of their run: coincidence does not depend on controls. Images whose p-value an alarm
    took away in their run stay without one, which counts as 1.
    """
    thresholds = bank.thresholds(policy.copy_level)
    line = bank.line if policy.complexity == "residual" else LinearFit(0.0, 0.0, 0)
    scores = [line.residual(row.log_ratio, row.complexity) for row in rows]
    embeddings = [row.rungs[Rung.EMBEDDING].seeds if Rung.EMBEDDING in row.rungs else NO_SEEDS for row in rows]
    nearest = [max(seeds.similarities, default=-2.0) for seeds in embeddings]
    near = conformal_p_values(nearest, bank.maxima(Rung.EMBEDDING)) <= policy.level
    inverted, texted = np.zeros((2, len(rows)), dtype=bool)
    text_p = np.ones(len(rows))
    control_rate = bank.control_rate(Rung.EMBEDDING, thresholds) if thresholds else 1.0
    for place, (row, seeds) in enumerate(zip(rows, embeddings, strict=True)):
        texts = [rung for rung in TEXT_RUNGS if rung in row.rungs]
        known = [p for rung in texts if (p := row.rungs[rung].p_value) is not None]
        text_p[place] = min(1.0, len(texts) * min(known, default=1.0))
        if thresholds is not None:
            hits = seeds.count(thresholds.is_copy)
            low = clopper_pearson(hits, len(seeds.similarities)).low
            inverted[place] = hits > 0 and near[place] and low > control_rate
            texted[place] = any(row.rungs[rung].seeds.count(thresholds.is_copy) for rung in texts)
    taken = np.array([row.p_value is None for row in rows], dtype=bool)
    score_p = np.where(taken, 1.0, conformal_p_values(scores, bank.scores(policy.complexity)))
    return Judged(score_p, text_p, inverted, texted)


@dataclass(frozen=True)
class Claims:
    """What the rule claims of images, portfolios in rows: each array has their shape."""

    score: Flags
    """The score is a discovery at the level."""
    replicated: Flags
    """The verdict is `replicated` or `replicated_by_inversion`."""


def decide_portfolios(images: Judged, level: float) -> Claims:
    """Benjamini-Hochberg over the last axis, and the verdicts it gates.

    images:  arrays of shape (portfolios, images)
    """
    score = select_discoveries(images.score_p, level)
    return Claims(score, (score & images.inverted) | (select_discoveries(images.text_p, level) & images.texted))


def select_discoveries(p_values: Floats, level: float) -> Flags:
    """Tell which p-values are discoveries within their row, by Benjamini-Hochberg.

    >>> select_discoveries(np.array([[0.01, 0.02, 0.9], [0.04, 0.9, 0.9]]), 0.05).tolist()
    [[True, True, False], [False, False, False]]
    """
    corrected: Floats = stats.false_discovery_control(p_values, axis=-1, method="bh")
    return corrected <= level + 1e-12


def false_discovery_proportions(claims: Flags, never_trained: int) -> Floats:
    """Return, per portfolio, the share of claimed images that were never trained on; 0 where nothing is claimed.

    never_trained:  how many images at the end of each row were never trained on
    """
    false = claims[..., claims.shape[-1] - never_trained :].sum(axis=-1)
    return np.asarray(false / np.maximum(1, claims.sum(axis=-1)), dtype=float)


def choose(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    """Places of memorised images, portfolios in rows; none where there are none."""
    return draw.choice(pool, (portfolios, MEMORISED)) if len(pool) else np.empty((portfolios, 0), dtype=np.int64)


def claim_portfolios(memorised: Judged, never_trained: Judged, chosen: Places, drawn: Places, level: float) -> Claims:
    """Return the claims on portfolios whose first images are memorised and whose last were never trained on.

    chosen, drawn:  places in `memorised` and `never_trained`, portfolios in rows
    """
    parts = [never_trained.at(drawn)]
    if chosen.shape[1]:
        parts.insert(0, memorised.at(chosen))
    return decide_portfolios(Judged.concatenate(parts), level)
