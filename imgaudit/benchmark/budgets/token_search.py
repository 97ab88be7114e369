"""Searched prompts by number of words and budget: how the defaults of the tokens rung are chosen, on `fit` alone."""

from collections.abc import Iterator, Sequence

from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_procedure, budget_row
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases
from imgaudit.benchmark.harness.figures import MeasuredRate, format_rates, measure_rate
from imgaudit.benchmark.harness.lab_work import LabWork, best_similarities, on_lab
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.token_search import search_tokens
from imgaudit.io.portfolio import Target
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.protocol import GenerationConfig, TokenSearchConfig
from imgaudit.schema.records import Record

SETTINGS = ((3, 1000), (6, 1000), (10, 1000), (3, 2000), (6, 2000), (3, 4000), (6, 4000))
"""(words, network evaluations)."""
GENERATION = GenerationConfig(seeds=8)
COUNTS = CaseCounts(held_out=20, seen_once=0)
SCORE = "best similarity"
CHUNK = 8


class PromptReport(Record):
    """All tables of `imgaudit benchmark prompts`."""

    seed_images: int
    """Images generated for each prompt."""
    rates: list[MeasuredRate]
    """Per setting and group: images of whose generated images one is a near copy."""


def report_prompts(rows: Sequence[BudgetRow]) -> PromptReport:
    """Compute the statistics of a table of searched prompts."""
    designs = list(dict.fromkeys(row.design for row in rows))
    rates = [
        measure_rate(design, group, flags)
        for design in designs
        for group in (Group.MEMORISED, Group.HELD_OUT)
        if (flags := [r.value > NEAR_COPY_CORRELATION for r in rows if r.design == design and r.group is group])
    ]
    return PromptReport(seed_images=GENERATION.seeds, rates=rates)


def measure_prompts(
    work: LabWork, counts: CaseCounts = COUNTS, settings: Sequence[tuple[int, int]] = SETTINGS
) -> list[BudgetRow]:
    """Measure every setting on memorised and held-out images; finished chunks are kept.

    settings:  (words, network evaluations) of the search
    """
    chosen = choose_cases(work.lab.description, counts).of(Group.MEMORISED, Group.HELD_OUT)
    rows = []
    sampling = 2 * GENERATION.seeds * GENERATION.num_inference_steps
    for image, own in resume_chunks(work, chosen, "prompts", CHUNK, lambda chunk: _search(work, chunk, settings)):
        for (words, evaluations), value in zip(settings, own, strict=True):
            config = TokenSearchConfig(words=words, evaluations=evaluations)
            spent = config.iterations * config.per_iteration + sampling
            name = f"{words} words, {evaluations} evaluations"
            rows.append(budget_row(name, SCORE, config.iterations, spent, image, False, value))
    return rows


def _search(work: LabWork, targets: list[Target], settings: Sequence[tuple[int, int]]) -> list[list[float]]:
    """Return, per target, the highest similarity over the seeds for every setting."""
    denoiser, executor, encoded = work.denoiser, work.executor, work.encode(targets)
    seeds = [draw_replica_seeds(work.seed, sha256, GENERATION.seeds) for sha256 in encoded.sha256s]
    found = []
    for words, evaluations in settings:
        config = TokenSearchConfig(words=words, evaluations=evaluations)
        prompts = search_tokens(
            denoiser, encoded.latents, encoded.sha256s, config, run_seed=work.seed, executor=executor
        )
        batches = generate(
            denoiser, denoiser.condition([prompt.text for prompt in prompts]), seeds,
            guidance_scale=GENERATION.guidance_scales[0], num_inference_steps=GENERATION.num_inference_steps,
            executor=executor,
        )  # fmt: skip
        found.append(best_similarities(encoded.rendered, batches))
    return [list(own) for own in zip(*found, strict=True)]


def format_prompts(report: PromptReport) -> Iterator[str]:
    """Format the images that are reproduced, per number of words and budget."""
    yield from format_rates(f"a near copy among {report.seed_images} images", report.rates)


PROCEDURE = budget_procedure(on_lab(measure_prompts), report_prompts, format_prompts)
