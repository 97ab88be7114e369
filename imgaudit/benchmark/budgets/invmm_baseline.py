"""InvMM's protocol as a baseline (Ma et al., arXiv 2405.05846), with the published settings for Stable Diffusion.

The method is the audit's own, `imgaudit.diffusion.invmm.search`; the similarity and its pass mark are the audit's as
well, and words are mixed that the tokenizer reads as themselves, where the published condition mixes its whole
vocabulary.
"""

from collections.abc import Sequence

from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_row
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.diffusion.invmm.search import NoiseInversion, invert_noise
from imgaudit.io.portfolio import Target
from imgaudit.schema.protocol import InvMMConfig

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
    work: LabWork, targets: list[Target], config: InvMMConfig, streams: Sequence[str] | None = None
) -> list[NoiseInversion]:
    """Run InvMM on some images of a lab, together.

    streams:  of an embedding that are free, in place of words; by default words, and all where the model has none
    """
    encoded = work.encode(targets)
    return invert_noise(work.denoiser, encoded, config, run_seed=work.seed, executor=work.executor, streams=streams)


def rank_failures_last(results: Sequence[NoiseInversion]) -> list[float]:
    """Score for ranking, higher = more memorised: minus the divergence; all failures tie below every success."""
    return [-result.kl_per_dimension if result.succeeded else LAST for result in results]


def measure_invmm(
    work: LabWork, counts: CaseCounts, config: InvMMConfig = PUBLISHED, images_each: int = IMAGES
) -> list[BudgetRow]:
    """Measure a few memorised and held-out images; finished chunks are kept. Costs are means over them.

    images_each:  how many of either, in order of SHA-256
    """
    cases = choose_cases(work.lab.description, counts)
    chosen = [image for group in (Group.MEMORISED, Group.HELD_OUT) for image in cases.of(group)[:images_each]]

    def measure(chunk: list[Target]) -> list[dict[str, float]]:
        results = run_invmm(work, chunk, config)
        return [
            {"score": score, "steps": result.steps, "evaluations": result.network_evaluations}
            for score, result in zip(rank_failures_last(results), results, strict=True)
        ]

    found = list(resume_chunks(work, chosen, "invmm", CHUNK, measure))
    spent = round(sum(one["evaluations"] for _, one in found) / len(found))
    steps = round(sum(one["steps"] for _, one in found) / len(found))
    return [
        budget_row(INVMM, "minus KL per dimension", steps, spent, image, False, one["score"]) for image, one in found
    ]
