"""DoRI's protocol as a baseline (arXiv 2507.16880): invert, then sample, and score by similarity alone.

50 Adam steps at learning rate 0.1 on batches of 8 fresh draws with uniform timesteps, from the null embedding; then 10
seeds of 50 sampling steps. The published similarity is SSCD; here it is the descriptor that decides the audit's hits,
and classifier-free guidance is the one at which the labs' truth is measured.
"""

import torch

from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_row
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.resume import resume_chunks
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.inversion import invert
from imgaudit.io.portfolio import Target
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.protocol import InversionConfig
from imgaudit.similarity.matcher import Matcher

DORI = "DoRI"
INVERSION_STEPS, DRAWS = 50, 8
SEEDS, INFERENCE_STEPS, GUIDANCE_SCALE = 10, 50, 3.0
CONTROLS = 100
"""Controls that are put through it: sampling makes it costly."""
CHUNK = 8
"""Images inverted and sampled together."""


def count_evaluations() -> int:
    """Return the network evaluations that DoRI's protocol takes for an image on a model that is guided by its null.

    A step of the inversion passes forward and back, and a step of sampling passes twice.

    >>> count_evaluations()
    1800
    """
    return 2 * INVERSION_STEPS * DRAWS + 2 * SEEDS * INFERENCE_STEPS


def dori_inversion(denoiser: Denoiser) -> InversionConfig:
    """DoRI's optimisation; its learning rate is not scaled by the embedding, ours is, hence the division."""
    scales = denoiser.start_condition().root_mean_square().values()
    return InversionConfig(
        steps=INVERSION_STEPS, draws=DRAWS, learning_rate=0.1 / (max(scales) or 1.0), timesteps="uniform"
    )


def dori_similarities(work: LabWork, targets: list[Target]) -> list[tuple[float, float]]:
    """Return the highest and mean similarity over the seeds, per target; -1 for a target without a usable frame."""
    denoiser, encoded = work.denoiser, work.encode(targets)
    inversion = invert(
        denoiser, encoded.latents, encoded.sha256s, dori_inversion(denoiser), run_seed=work.seed, executor=work.executor
    )
    batches = generate(
        denoiser,
        inversion.prompt_embeds,
        [draw_replica_seeds(work.seed, sha256, SEEDS) for sha256 in encoded.sha256s],
        guidance_scale=GUIDANCE_SCALE,
        num_inference_steps=INFERENCE_STEPS,
        executor=work.executor,
    )
    results = []
    for target, batch in zip(encoded.rendered, batches, strict=True):
        frames = [frame.image for frame in batch if frame.invalid is None]
        compared = Matcher().compare(target, torch.stack(frames)) if frames else []
        values = [similarity[DECIDING_DESCRIPTOR] for similarity, _ in compared] or [-1.0]
        results.append((max(values), sum(values) / len(values)))
    return results


def measure_dori(work: LabWork, counts: CaseCounts) -> list[BudgetRow]:
    """Measure memorised, held-out and control images; finished chunks are kept."""
    cases = choose_cases(work.lab.description, counts)
    controls = cases.bank[:CONTROLS]
    bank = {image.sha256 for image in controls}

    def measure(chunk: list[Target]) -> list[dict[str, float]]:
        before = work.denoiser.network_evaluations
        found = dori_similarities(work, chunk)
        spent = (work.denoiser.network_evaluations - before) / len(chunk)
        return [{"evaluations": spent, "best": highest, "mean": mean} for highest, mean in found]

    images = [*controls, *cases.of(Group.MEMORISED, Group.HELD_OUT)]
    return [
        budget_row(
            DORI, f"{score} similarity", 50, round(found["evaluations"]), image, image.sha256 in bank, found[score]
        )
        for image, found in resume_chunks(work, images, "dori", CHUNK, measure)
        for score in ("best", "mean")
    ]
