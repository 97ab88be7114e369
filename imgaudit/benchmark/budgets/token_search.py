"""Searched prompts by number of words and budget: how the defaults of the tokens rung are chosen, on `fit` alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_row
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, load_cases
from imgaudit.benchmark.harness.figures import MeasuredRate, measure_rate
from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.token_search import search_tokens
from imgaudit.io.framing import frame_image, to_tensor
from imgaudit.io.portfolio import Target
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.protocol import GenerationConfig, TokenSearchConfig
from imgaudit.schema.records import Record
from imgaudit.similarity.matcher import Matcher

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


def prompt_report(rows: Sequence[BudgetRow]) -> PromptReport:
    """Statistics of a table of searched prompts."""
    designs = list(dict.fromkeys(row.design for row in rows))
    rates = [
        measure_rate(design, group, flags)
        for design in designs
        for group in (Group.MEMORISED, Group.HELD_OUT)
        if (flags := [r.value > NEAR_COPY_CORRELATION for r in rows if r.design == design and r.group is group])
    ]
    return PromptReport(seed_images=GENERATION.seeds, rates=rates)


def measure_prompts(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts = COUNTS,
    settings: Sequence[tuple[int, int]] = SETTINGS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """Every setting on memorised and held-out images; finished chunks are kept.

    settings:  (words, network evaluations) of the search
    """
    chosen = choose_cases(lab.description, counts).of(Group.MEMORISED, Group.HELD_OUT)
    images = {image.sha256: image for image in chosen}
    portfolio = load_cases(list(images.values()), located)

    def work(chunk: list[Target]) -> list[list[float]]:
        return _best_similarities(lab, chunk, settings, run_seed=run_seed, executor=executor)

    rows = []
    sampling = 2 * GENERATION.seeds * GENERATION.num_inference_steps
    for target, own in resume_chunks(portfolio, folder / "prompts", CHUNK, work, on_progress):
        for (words, evaluations), value in zip(settings, own, strict=True):
            config = TokenSearchConfig(words=words, evaluations=evaluations)
            spent = config.iterations * config.per_iteration + sampling
            name = f"{words} words, {evaluations} evaluations"
            image = images[target.image.sha256]
            rows.append(budget_row(name, SCORE, config.iterations, spent, image, False, value))
    return rows


def _best_similarities(
    lab: LabModel, targets: list[Target], settings: Sequence[tuple[int, int]], *, run_seed: int, executor: Executor
) -> list[list[float]]:
    """Per target, the highest similarity over the seeds for every setting; -1 without a frame."""
    denoiser, framing = lab.loaded.denoiser, lab.description.recipe.framing
    framed = torch.stack([to_tensor(frame_image(t.load().pixels, denoiser.resolution, framing)) for t in targets])
    sha256s = [target.image.sha256 for target in targets]
    latents = denoiser.encode(framed)
    references = denoiser.decode(latents)
    seeds = [draw_replica_seeds(run_seed, sha256, GENERATION.seeds) for sha256 in sha256s]
    found: list[list[float]] = [[] for _ in targets]
    for words, evaluations in settings:
        config = TokenSearchConfig(words=words, evaluations=evaluations)
        prompts = search_tokens(denoiser, latents, sha256s, config, run_seed=run_seed, executor=executor)
        batches = generate(
            denoiser, denoiser.condition([prompt.text for prompt in prompts]), seeds,
            guidance_scale=GENERATION.guidance_scales[0], num_inference_steps=GENERATION.num_inference_steps,
            executor=executor,
        )  # fmt: skip
        for own, reference, batch in zip(found, references, batches, strict=True):
            frames = [frame.image for frame in batch if frame.invalid is None]
            own.append(Matcher().best_similarity(reference, frames))
    return found
