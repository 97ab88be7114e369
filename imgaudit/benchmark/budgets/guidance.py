"""Guidance scale and sampling steps: which settings show copies of memorised images and of no others."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_row
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, load_cases
from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.inversion import invert
from imgaudit.io.framing import frame_image, to_tensor
from imgaudit.io.portfolio import Target
from imgaudit.schema.protocol import InversionConfig
from imgaudit.schema.records import Rung
from imgaudit.similarity.matcher import Matcher

SETTINGS = ((1.0, 20), (2.0, 20), (3.0, 20), (5.0, 20), (7.5, 20), (3.0, 10), (3.0, 50))
"""(guidance scale, sampling steps)."""
SEEDS = 8
INVERSION = InversionConfig(steps=25)
COUNTS = CaseCounts(held_out=60, seen_once=0)
CHUNK = 8


def best_similarities(
    denoiser: Denoiser, targets: list[Target], lab: LabModel, *, run_seed: int, executor: Executor
) -> list[list[float]]:
    """Per target, the highest similarity over the seeds for every one of :func:`combinations`; -1 without a frame."""
    framing = lab.description.recipe.framing
    framed = torch.stack([to_tensor(frame_image(t.load().pixels, denoiser.resolution, framing)) for t in targets])
    sha256s = [target.image.sha256 for target in targets]
    latents = denoiser.encode(framed)
    references = denoiser.decode(latents)
    inverted = invert(denoiser, latents, sha256s, INVERSION, run_seed=run_seed, executor=executor).prompt_embeds
    captions = denoiser.condition([target.texts[Rung.CAPTION][0] for target in targets])
    seeds = [draw_replica_seeds(run_seed, sha256, SEEDS) for sha256 in sha256s]
    found: list[list[float]] = [[] for _ in targets]
    for rung, scale, steps in combinations():
        condition = inverted if rung is Rung.EMBEDDING else captions
        batches = generate(
            denoiser, condition, seeds, guidance_scale=scale, num_inference_steps=steps, executor=executor
        )
        for own, reference, batch in zip(found, references, batches, strict=True):
            frames = [frame.image for frame in batch if frame.invalid is None]
            own.append(Matcher().best_similarity(reference, frames))
    return found


def combinations() -> list[tuple[Rung, float, int]]:
    """(rung, guidance scale, sampling steps) of everything that is sampled."""
    return [(rung, scale, steps) for rung in (Rung.CAPTION, Rung.EMBEDDING) for scale, steps in SETTINGS]


def measure_guidance(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts = COUNTS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """Every setting on memorised and held-out images; finished chunks are kept."""
    denoiser = lab.loaded.denoiser
    chosen = choose_cases(lab.description, counts).of(Group.MEMORISED, Group.HELD_OUT)
    images = {image.sha256: image for image in chosen}
    portfolio = load_cases(list(images.values()), located)

    def work(chunk: list[Target]) -> list[list[float]]:
        return best_similarities(denoiser, chunk, lab, run_seed=run_seed, executor=executor)

    rows = []
    for target, own in resume_chunks(portfolio, folder / "guidance", CHUNK, work, on_progress):
        for (rung, scale, sampling), value in zip(combinations(), own, strict=True):
            inverting = INVERSION.steps if rung is Rung.EMBEDDING else 0
            spent = 2 * INVERSION.draws * inverting + SEEDS * sampling * (2 if scale > 1 else 1)
            name = f"{rung.value}, guidance {scale:g}, {sampling} sampling steps"
            image = images[target.image.sha256]
            rows.append(budget_row(name, "best similarity", inverting, spent, image, False, value))
    return rows
