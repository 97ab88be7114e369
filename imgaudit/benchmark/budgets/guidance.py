"""Guidance scale and sampling steps: which settings show copies of memorised images and of no others."""

from imgaudit.benchmark.harness.budget_table import (
    BudgetRow,
    budget_points,
    budget_procedure,
    budget_row,
    format_points,
)
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases
from imgaudit.benchmark.harness.lab_work import LabWork, best_similarities, on_lab
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.inversion import invert
from imgaudit.io.portfolio import Target
from imgaudit.schema.protocol import InversionConfig
from imgaudit.schema.records import Rung

SETTINGS = ((1.0, 20), (2.0, 20), (3.0, 20), (5.0, 20), (7.5, 20), (3.0, 10), (3.0, 50))
"""(guidance scale, sampling steps)."""
SEEDS = 8
INVERSION = InversionConfig(steps=25)
COUNTS = CaseCounts(held_out=60, seen_once=0)
CHUNK = 8


def sample_settings(work: LabWork, targets: list[Target]) -> list[list[float]]:
    """Return, per target, the highest similarity over the seeds for every one of :func:`combinations`."""
    denoiser, executor, encoded = work.denoiser, work.executor, work.encode(targets)
    inverted = invert(
        denoiser, encoded.latents, encoded.sha256s, INVERSION, run_seed=work.seed, executor=executor
    ).prompt_embeds
    captions = denoiser.condition([target.texts[Rung.CAPTION][0] for target in targets])
    seeds = [draw_replica_seeds(work.seed, sha256, SEEDS) for sha256 in encoded.sha256s]
    found = []
    for rung, scale, steps in combinations():
        condition = inverted if rung is Rung.EMBEDDING else captions
        batches = generate(
            denoiser, condition, seeds, guidance_scale=scale, num_inference_steps=steps, executor=executor
        )
        found.append(best_similarities(encoded.rendered, batches))
    return [list(own) for own in zip(*found, strict=True)]


def combinations() -> list[tuple[Rung, float, int]]:
    """List (rung, guidance scale, sampling steps) of everything that is sampled."""
    return [(rung, scale, steps) for rung in (Rung.CAPTION, Rung.EMBEDDING) for scale, steps in SETTINGS]


def measure_guidance(work: LabWork, counts: CaseCounts = COUNTS) -> list[BudgetRow]:
    """Measure every setting on memorised and held-out images; finished chunks are kept."""
    chosen = choose_cases(work.lab.description, counts).of(Group.MEMORISED, Group.HELD_OUT)
    rows = []
    for image, own in resume_chunks(work, chosen, "guidance", CHUNK, lambda chunk: sample_settings(work, chunk)):
        for (rung, scale, sampling), value in zip(combinations(), own, strict=True):
            inverting = INVERSION.steps if rung is Rung.EMBEDDING else 0
            spent = 2 * INVERSION.draws * inverting + SEEDS * sampling * (2 if scale > 1 else 1)
            name = f"{rung.value}, guidance {scale:g}, {sampling} sampling steps"
            rows.append(budget_row(name, "best similarity", inverting, spent, image, False, value))
    return rows


PROCEDURE = budget_procedure(on_lab(measure_guidance), budget_points, format_points)
