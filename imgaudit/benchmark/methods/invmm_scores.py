"""How well InvMM, as the audit runs it, separates memorised from held-out images of a lab, and what it costs.

Beside it stands what it is built on: the plain embedding, inverted and sampled as DoRI does, on the same images.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence

from pydantic import Field
from scipy import stats

from imgaudit.benchmark.budgets.dori import dori_similarities
from imgaudit.benchmark.budgets.invmm_baseline import LAST, rank_failures_last, run_invmm
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, group_of
from imgaudit.benchmark.harness.figures import (
    LABEL,
    Goal,
    MeasuredRate,
    Separation,
    format_goals,
    format_rates,
    format_separations,
    label_rows,
    mean,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.benchmark.settings import InvMMSettings
from imgaudit.exceptions import InputError
from imgaudit.io.portfolio import Target
from imgaudit.lab.description import LabImage
from imgaudit.schema.protocol import InvMMConfig
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose

IMAGES = 16
"""Memorised and as many held-out images."""
CHUNK = 8
"""Images searched together, as an audit's default has it."""
GOAL = 0.9
"""AUC of memorised against held-out images, failures ranked last."""
INVMM, STEPS, EMBEDDING = (
    "InvMM, minus KL per dimension", "InvMM, minus steps to its success", "embedding, best similarity (DoRI)",
)  # fmt: skip


class InvMMRow(Record):
    """One image."""

    sha256: str
    """First 16 hexadecimal digits."""
    group: Group
    """Of the image, by the lab."""
    repeats: int
    """Planted repeat count."""
    kl_per_dimension: float | None = Field(exclude_if=lambda value: value is None, default=None)
    """In nats; absent where it did not succeed."""
    steps: int
    """Optimisation steps done."""
    evaluations: int
    """Network evaluations of InvMM."""
    seconds: float
    """Of InvMM, the image's share of its chunk."""
    similarity: float
    """Best similarity of the plain embedding's samples."""
    embedding_evaluations: int
    """Network evaluations of the plain embedding's inversion and samples."""
    embedding_seconds: float
    """Of these, the image's share of its chunk."""


class InvMMBasis(LabRecord):
    """What was run, and on which lab."""

    config: InvMMConfig
    """Settings of InvMM."""
    condition: str
    """What the soft condition was made of."""
    streams: list[str] = Field(exclude_if=lambda value: not value, default_factory=list)
    """Those of an embedding that were free; empty for all."""


class InvMMTable(InvMMBasis, Table):
    """What was measured, committed with a lab."""

    long_lists = ("rows",)

    rows: list[InvMMRow]
    """One per image."""


class InvMMCost(Record):
    """What one method takes for an image, on average over some."""

    name: str
    """Method."""
    group: Group
    """Which images."""
    n: int
    """How many."""
    evaluations: float
    """Network evaluations."""
    seconds: float
    """Wall time."""
    steps: float
    """Optimisation steps."""


class RankCorrelation(Record):
    """Spearman's rank correlation of the divergence with the steps to the success, over all images that succeeded."""

    value: float
    """From -1 to 1; below 0, the noise of those that took longer is moved less."""
    p_value: float
    """Two-sided, that there is none; approximate for few images."""
    n: int
    """Images."""


class InvMMReport(InvMMBasis):
    """All tables of `imgaudit benchmark invmm`."""

    separations: list[Separation]
    """Areas under ROC curves."""
    successes: list[MeasuredRate]
    """Images for which a check succeeded."""
    medians: dict[Group, float | None]
    """Median divergence per dimension, failures last: None where most failed."""
    correlation: RankCorrelation | None
    """Of divergence and steps; None for fewer than three successes, or where either is the same for all."""
    costs: list[InvMMCost]
    """Means per method and group."""
    targets: list[Goal]
    """Goals and outcomes."""


def measure_invmm_scores(
    work: LabWork,
    config: InvMMConfig | None = None,
    images_each: int = IMAGES,
    counts: CaseCounts | None = None,
    streams: Sequence[str] | None = None,
) -> InvMMTable:
    """Run both methods on the first memorised and held-out images in order of SHA-256; finished chunks are kept.

    streams:  as in `run_invmm`
    Raises InputError when the lab has memorised nothing, or the folder lacks its images.
    """
    lab, config = work.lab, config or InvMMConfig()
    cases = choose_cases(lab.description, counts or CaseCounts())
    chosen = [
        image for group in (Group.MEMORISED, Group.HELD_OUT) for image in _located(cases.of(group), work)[:images_each]
    ]
    if not any(group_of(image) is Group.MEMORISED for image in chosen):
        raise InputError(f"lab {lab.description.recipe.name!r} has memorised no image that is here")
    conditions: list[str] = []
    rows = []

    def measure(chunk: list[Target]) -> list[dict[str, float | str | None]]:
        return _measure_chunk(work, chunk, config, streams)

    # Chunks that were measured with other settings are not taken for these.
    settings = hashlib.sha256(f"{config.model_dump_json()} {streams}".encode()).hexdigest()[:16]
    measured = resume_chunks(work, chosen, f"invmm-scores-{settings}", CHUNK, measure)
    for image, found in measured:
        conditions.append(found.pop("condition"))
        rounded = {
            name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in found.items()
        }  # fmt: skip
        rows.append(InvMMRow(sha256=image.sha256[:16], group=group_of(image), repeats=image.repeats, **rounded))
    return InvMMTable(
        lab=lab.description.recipe.name, seed=work.seed, hardware=describe_hardware(work.denoiser), config=config,
        condition=" and ".join(sorted(set(conditions))), rows=rows,
        # Words are mixed as a whole, whatever part of an embedding was to be free.
        streams=list(streams or ()) if "embedding" in conditions else [],
    )  # fmt: skip


def _measure_chunk(
    work: LabWork, chunk: list[Target], config: InvMMConfig, streams: Sequence[str] | None
) -> list[dict[str, float | str | None]]:
    started = time.perf_counter()
    found = run_invmm(work, chunk, config, streams)
    between, before = time.perf_counter(), work.denoiser.network_evaluations
    plain = dori_similarities(work, chunk)
    share, spent = 1 / len(chunk), work.denoiser.network_evaluations - before
    ended = time.perf_counter()
    return [
        {
            "kl_per_dimension": score if (score := -ranked) != -LAST else None,
            "steps": one.steps,
            "evaluations": one.network_evaluations,
            "condition": one.condition,
            "seconds": (between - started) * share,
            "similarity": best,
            "embedding_evaluations": round(spent * share),
            "embedding_seconds": (ended - between) * share,
        }
        for ranked, one, (best, _) in zip(rank_failures_last(found), found, plain, strict=True)
    ]


def _located(images: Sequence[LabImage], work: LabWork) -> list[LabImage]:
    """Select the images that are here: bundled labs bring some, of others all must be there, which loading checks."""
    return [image for image in images if image.sha256 in work.located] if work.lab.bank else list(images)


def report_invmm(table: InvMMTable) -> InvMMReport:
    """Compute the statistics of a table; no model is needed."""
    groups = {group: [row for row in table.rows if row.group is group] for group in (Group.MEMORISED, Group.HELD_OUT)}
    scores = {group: [_score(row) for row in rows] for group, rows in groups.items()}
    steps = {group: [_rank_steps(row) for row in rows] for group, rows in groups.items()}
    similarities = {group: [row.similarity for row in rows] for group, rows in groups.items()}
    separations = [
        found
        for name, values in ((INVMM, scores), (STEPS, steps), (EMBEDDING, similarities))
        if (found := measure_separation(name, Group.HELD_OUT, values[Group.MEMORISED], values[Group.HELD_OUT]))
    ]
    costs = [
        InvMMCost(name=name, group=group, n=len(rows), evaluations=mean(spent), seconds=mean(took), steps=mean(steps))
        for group, rows in groups.items()
        for name, spent, took, steps in (
            (INVMM, [r.evaluations for r in rows], [r.seconds for r in rows], [r.steps for r in rows]),
            (EMBEDDING, [r.embedding_evaluations for r in rows], [r.embedding_seconds for r in rows], [50] * len(rows)),
        )
    ]
    targets = [Goal.at_least(f"AUC, {one.name}", one, GOAL) for one in separations if one.name == INVMM]
    return InvMMReport(
        lab=table.lab, seed=table.seed, hardware=table.hardware, config=table.config, condition=table.condition,
        streams=table.streams,
        separations=separations,
        successes=[
            measure_rate("a check succeeded", group, [row.kl_per_dimension is not None for row in rows])
            for group, rows in groups.items()
        ],
        medians={group: _median(values) for group, values in scores.items()},
        correlation=_correlate(table.rows), costs=costs, targets=targets,
    )  # fmt: skip


def _score(row: InvMMRow) -> float:
    return LAST if row.kl_per_dimension is None else -row.kl_per_dimension


def _rank_steps(row: InvMMRow) -> float:
    return LAST if row.kl_per_dimension is None else -row.steps


def _correlate(rows: Sequence[InvMMRow]) -> RankCorrelation | None:
    """Compare divergence and steps of successes by their ranks; None where either is the same for all."""
    found = [(row.kl_per_dimension, row.steps) for row in rows if row.kl_per_dimension is not None]
    if len(found) < 3 or any(len(set(values)) < 2 for values in zip(*found, strict=True)):
        return None
    test = stats.spearmanr(*zip(*found, strict=True))
    return RankCorrelation(value=float(test.statistic), p_value=float(test.pvalue), n=len(found))


def _median(scores: Sequence[float]) -> float | None:
    """The lower middle divergence, so that an even split between success and failure counts as success."""
    if not scores:
        return None
    middle = sorted(scores, reverse=True)[(len(scores) - 1) // 2]
    return None if middle == LAST else -middle


def format_invmm(report: InvMMReport) -> Iterator[str]:
    """Format separation, successes, medians, cost and goals."""
    config = report.config
    scales = ", ".join(f"{scale:g}" for scale in config.guidance_scales)
    only = f" of {' and '.join(report.streams)} alone" if report.streams else ""
    yield from wrap_prose(
        f"lab {report.lab}, seed {report.seed}, {report.hardware}; condition: {report.condition}{only}"
    )
    yield from wrap_prose(
        f"at most {config.steps} steps of {config.draws} draws, a check every {config.check_every} of {config.noises} "
        f"samples of {config.num_inference_steps} steps at guidance {scales}"
    )
    yield ""
    yield from format_separations("memorised images", report.separations)
    yield ""
    yield from format_rates("", report.successes)
    for group, median in report.medians.items():
        yield f"median KL per dimension, {group}: " + ("none, most failed" if median is None else f"{median:.4f} nats")
    if known := report.correlation:
        yield from wrap_prose(
            f"rank correlation of KL per dimension with steps, all successes: {known.value:.2f} "
            f"(n {known.n}, p {known.p_value:.2g})"
        )
    yield ""
    yield f"{'mean per image':{LABEL}}  n   steps  network evaluations   seconds"
    costs = [f"{cost.n:3}{cost.steps:8.0f}{cost.evaluations:21,.0f}{cost.seconds:10.1f}" for cost in report.costs]
    yield from label_rows([(cost.group, cost.name) for cost in report.costs], costs)
    yield f"(seconds are shares of chunks of {CHUNK} images, which may hold both kinds)"
    yield from format_goals(report.targets)


def _measure(settings: InvMMSettings, on_stage: OnStage) -> InvMMTable:
    config = InvMMConfig() if settings.steps is None else InvMMConfig(steps=settings.steps)
    work = LabWork.open(settings, on_stage)
    return measure_invmm_scores(work, config, settings.images_each, streams=settings.streams)


PROCEDURE = record_procedure(InvMMTable, _measure, report_invmm, format_invmm)
