"""InvMM's protocol as a baseline (Ma et al., arXiv 2405.05846), with the published settings for Stable Diffusion.

The method is the audit's own, `imgaudit.diffusion.invmm.search`; the similarity and its pass mark are the audit's as
well, and words are mixed that the tokenizer reads as themselves, where the published condition mixes its whole
vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_row
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, load_cases
from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.diffusion.context import EncodedImages
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.invmm.search import NoiseInversion, invert_noise
from imgaudit.io.framing import frame_image, to_tensor
from imgaudit.io.portfolio import Target
from imgaudit.schema.protocol import Framing, InvMMConfig

INVMM = "InvMM"
IMAGES = 8
"""Memorised and held-out images, each, that are put through it: a failure costs tens of thousands of passes."""
CHUNK = 4
"""Images searched together."""

PUBLISHED = InvMMConfig(
    steps=2000, draws=16, check_every=50, guidance_scales=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), num_inference_steps=50,
    gate_margin=None,
)  # fmt: skip
"""The published settings; a check ends at its first sample below the pass mark, which changes its cost alone."""

LAST = -1e9
"""Score of a failure: below every success, tied with the other failures."""


def run_invmm(
    denoiser: Denoiser,
    targets: Sequence[Target],
    config: InvMMConfig,
    *,
    framing: Framing,
    run_seed: int,
    executor: Executor,
) -> list[NoiseInversion]:
    """InvMM on some images of a lab, together."""
    framed = torch.stack([to_tensor(frame_image(one.load().pixels, denoiser.resolution, framing)) for one in targets])
    latents = denoiser.encode(framed)
    images = EncodedImages([target.image.sha256 for target in targets], latents, denoiser.decode(latents))
    return invert_noise(denoiser, images, config, run_seed=run_seed, executor=executor)


def failures_last(results: Sequence[NoiseInversion]) -> list[float]:
    """Scores for ranking, higher = more memorised: minus the divergence; all failures tie below every success."""
    return [-result.kl_per_dimension if result.succeeded else LAST for result in results]


def measure_invmm(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts,
    config: InvMMConfig = PUBLISHED,
    images_each: int = IMAGES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """Rows of a few memorised and held-out images, every chunk kept when finished. Costs are means over them.

    images_each:  how many of either, in order of SHA-256
    """
    denoiser, framing = lab.loaded.denoiser, lab.description.recipe.framing
    cases = choose_cases(lab.description, counts)
    chosen = [image for group in (Group.MEMORISED, Group.HELD_OUT) for image in cases.of(group)[:images_each]]
    images = {image.sha256: image for image in chosen}

    def work(chunk: list[Target]) -> list[dict[str, float]]:
        results = run_invmm(denoiser, chunk, config, framing=framing, run_seed=run_seed, executor=executor)
        return [
            {"score": score, "steps": result.steps, "evaluations": result.network_evaluations}
            for score, result in zip(failures_last(results), results, strict=True)
        ]

    found = list(resume_chunks(load_cases(chosen, located), folder / "invmm", CHUNK, work, on_progress))
    spent = round(sum(one["evaluations"] for _, one in found) / len(found))
    steps = round(sum(one["steps"] for _, one in found) / len(found))
    return [
        budget_row(INVMM, "minus KL per dimension", steps, spent, images[target.image.sha256], False, one["score"])
        for target, one in found
    ]
