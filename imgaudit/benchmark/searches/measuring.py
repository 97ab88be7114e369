"""Measure the scores of a lab's images under every search."""

from collections.abc import Sequence
from typing import Any

from imgaudit.benchmark.budgets.dori import DORI, measure_dori
from imgaudit.benchmark.budgets.invmm_baseline import INVMM, measure_invmm
from imgaudit.benchmark.harness.budget_table import BudgetRow
from imgaudit.benchmark.harness.cases import CaseCounts, choose_cases, group_of
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.benchmark.searches.looks import measure_looks
from imgaudit.benchmark.searches.table import AUDITED_LOOK, CAPTION, INVERSION, LOOKS, TEXTS, SearchRow, SearchTable
from imgaudit.benchmark.settings import SearchSettings
from imgaudit.diffusion.denoising_error import choose_baseline, measure_paired_errors
from imgaudit.diffusion.inversion import invert
from imgaudit.diffusion.span_search import search_span
from imgaudit.diffusion.text_span import TextSpan, span_texts
from imgaudit.io.framing import frame_image, measure_complexity
from imgaudit.io.portfolio import Target
from imgaudit.schema.protocol import ErrorConfig, InversionConfig, SpanConfig
from imgaudit.schema.records import Rung

CHUNK = 16
"""Images measured together."""
COUNTS = CaseCounts()
"""Images that are measured."""
OTHERS = CaseCounts(held_out=100)
"""Images that the published methods are tried on."""
ERROR, SPAN = ErrorConfig(), SpanConfig()


def measure_searches(settings: SearchSettings, on_stage: OnStage) -> list[SearchTable]:
    """Measure the lab that settings name; one table."""
    return [measure_lab(LabWork.open(settings, on_stage), settings)]


def measure_lab(work: LabWork, settings: SearchSettings, counts: CaseCounts = COUNTS) -> SearchTable:
    """Measure controls and images of a lab under every search; finished chunks are kept."""
    cases = choose_cases(work.lab.description, counts)
    is_searched = settings.every or work.denoiser.prediction_type in SPAN.prediction_types
    span = span_texts(work.denoiser, SPAN) if is_searched else None
    config = InversionConfig(steps=ERROR.after_steps)
    images = [*cases.controls, *cases.measured]
    bank = {image.sha256 for image in cases.bank}
    controls = {image.sha256 for image in cases.controls}

    folder = f"looks-{settings.looks}" if settings.looks != "none" else "searches"
    kinds = {"none": (), "audited": (AUDITED_LOOK,), "all": LOOKS}[settings.looks]

    def measure(chunk: list[Target]) -> list[dict[str, Any]]:
        results = _measure_chunk(work, chunk, config, span)
        if kinds:
            # First looks belong to the search that audits of such a model use.
            audited = span if work.denoiser.prediction_type in SPAN.prediction_types else None
            for result, looks in zip(results, measure_looks(work, chunk, config, audited, kinds), strict=True):
                result["looks"] = looks
        return results

    rows = [
        SearchRow(
            sha256=image.sha256[:16],
            group=group_of(image),
            repeats=image.repeats,
            use="bank" if image.sha256 in bank else "fit" if image.sha256 in controls else "measured",
            complexity=found["complexity"],
            log_ratios=found["log_ratios"],
            looks=found.get("looks", {}),
        )
        for image, found in resume_chunks(work, images, folder, CHUNK, measure)
    ]
    errors = 2 * ERROR.draws
    evaluations = {
        INVERSION: 2 * config.steps * config.draws + errors,
        **({TEXTS: 2 * SPAN.steps * SPAN.draws + errors} if is_searched else {}),
        CAPTION: errors,
    }
    for name, budget in _measure_published(settings, work).items():
        evaluations[name] = budget[0].evaluations
        rows = _with_published(rows, name, budget)
    return SearchTable(
        lab=work.lab.description.recipe.name,
        pipeline=work.lab.loaded.pipeline_class,
        prediction_type=work.denoiser.prediction_type,
        baseline=choose_baseline(work.denoiser),
        model_fingerprint=work.denoiser.fingerprint,
        seed=work.seed,
        hardware=describe_hardware(work.denoiser),
        steps=config.steps,
        draws=config.draws,
        span=SPAN,
        evaluations=evaluations,
        rows=sorted(rows, key=lambda row: row.sha256),
    )


def _measure_chunk(
    work: LabWork, chunk: list[Target], config: InversionConfig, span: TextSpan | None
) -> list[dict[str, Any]]:
    """Measure some images: complexity, and the log ratio under every search."""
    denoiser, encoded = work.denoiser, work.encode(chunk)
    conditions = {
        INVERSION: invert(
            denoiser, encoded.latents, encoded.sha256s, config, run_seed=work.seed, executor=work.executor
        ).prompt_embeds
    }
    if span is not None:
        conditions[TEXTS] = search_span(
            denoiser, encoded.latents, encoded.sha256s, span, SPAN, run_seed=work.seed, executor=work.executor
        ).prompt_embeds
    conditions[CAPTION] = denoiser.condition([target.texts[Rung.CAPTION][0] for target in chunk])
    ratios: dict[str, list[float]] = {}
    null = None
    for name, condition in conditions.items():
        errors = measure_paired_errors(
            denoiser, encoded.latents, encoded.sha256s, condition, ERROR, run_seed=work.seed, executor=work.executor,
            baseline=choose_baseline(denoiser), null=null,
        )  # fmt: skip
        null = errors.null
        ratios[name] = errors.log_ratio().tolist()
    return [
        {
            "complexity": measure_complexity(frame_image(target.load().pixels, denoiser.resolution, work.framing)),
            "log_ratios": {name: values[row] for name, values in ratios.items()},
        }
        for row, target in enumerate(chunk)
    ]


def _measure_published(settings: SearchSettings, work: LabWork) -> dict[str, list[BudgetRow]]:
    """Try the published methods that the settings ask for; of DoRI both its scores are kept."""
    rows: dict[str, list[BudgetRow]] = {}
    if settings.baselines in ("dori", "both"):
        found = measure_dori(work, OTHERS)
        rows |= {
            f"{DORI}, {score}": [row for row in found if row.score == score]
            for score in sorted({r.score for r in found})
        }
    if settings.baselines in ("invmm", "both"):
        rows[INVMM] = measure_invmm(work, OTHERS, images_each=settings.invmm_images)
    return rows


def _with_published(rows: Sequence[SearchRow], name: str, found: Sequence[BudgetRow]) -> list[SearchRow]:
    """Add a published method's scores to the rows of the images that it was tried on."""
    values = {row.sha256: row.value for row in found}
    return [
        row.model_copy(update={"log_ratios": row.log_ratios | {name: values[row.sha256]}})
        if row.sha256 in values
        else row
        for row in rows
    ]
