"""DoRI's protocol as a baseline (arXiv 2507.16880): invert, then sample, and score by similarity alone.

50 Adam steps at learning rate 0.1 on batches of 8 fresh draws with uniform timesteps, from the null embedding; then 10
seeds of 50 sampling steps. The published similarity is SSCD; here it is the descriptor that decides the audit's hits,
and classifier-free guidance is the one at which the labs' truth is measured.
"""

from collections.abc import Callable, Mapping, Sequence
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
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.protocol import Framing, InversionConfig
from imgaudit.similarity.matcher import Matcher

DORI = "DoRI"
SEEDS, INFERENCE_STEPS, GUIDANCE_SCALE = 10, 50, 3.0
CONTROLS = 100
"""Controls that are put through it: sampling makes it costly."""
CHUNK = 8
"""Images inverted and sampled together."""


def dori_inversion(denoiser: Denoiser) -> InversionConfig:
    """DoRI's optimisation; its learning rate is not scaled by the embedding, ours is, hence the division."""
    scales = denoiser.start_condition().root_mean_square().values()
    return InversionConfig(steps=50, draws=8, learning_rate=0.1 / (max(scales) or 1.0), timesteps="uniform")


def dori_similarities(
    denoiser: Denoiser, targets: Sequence[Target], *, framing: Framing, run_seed: int, executor: Executor
) -> list[tuple[float, float]]:
    """Highest and mean similarity over the seeds, per target; -1, the lowest, for a target without a usable frame."""
    framed = torch.stack(
        [to_tensor(frame_image(target.load().pixels, denoiser.resolution, framing)) for target in targets]
    )
    sha256s = [target.image.sha256 for target in targets]
    latents = denoiser.encode(framed)
    references = denoiser.decode(latents)
    inversion = invert(
        denoiser, latents, sha256s, dori_inversion(denoiser), run_seed=run_seed, executor=executor
    )  # fmt: skip
    batches = generate(
        denoiser,
        inversion.prompt_embeds,
        [draw_replica_seeds(run_seed, sha256, SEEDS) for sha256 in sha256s],
        guidance_scale=GUIDANCE_SCALE,
        num_inference_steps=INFERENCE_STEPS,
        executor=executor,
    )
    results = []
    for reference, batch in zip(references, batches, strict=True):
        frames = [frame.image for frame in batch if frame.invalid is None]
        compared = Matcher().compare(reference, torch.stack(frames)) if frames else []
        values = [similarity[DECIDING_DESCRIPTOR] for similarity, _ in compared] or [-1.0]
        results.append((max(values), sum(values) / len(values)))
    return results


def measure_dori(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """Rows of memorised, held-out and control images; finished chunks are kept."""
    denoiser, framing = lab.loaded.denoiser, lab.description.recipe.framing
    cases = choose_cases(lab.description, counts)
    controls = cases.bank[:CONTROLS]
    images = {image.sha256: image for image in [*controls, *cases.of(Group.MEMORISED, Group.HELD_OUT)]}
    bank = {image.sha256 for image in controls}

    def work(chunk: list[Target]) -> list[dict[str, float]]:
        before = denoiser.network_evaluations
        found = dori_similarities(denoiser, chunk, framing=framing, run_seed=run_seed, executor=executor)
        spent = (denoiser.network_evaluations - before) / len(chunk)
        return [{"evaluations": spent, "best": highest, "mean": mean} for highest, mean in found]

    rows = []
    portfolio = load_cases(list(images.values()), located)
    for target, found in resume_chunks(portfolio, folder / "dori", CHUNK, work, on_progress):
        image, is_control = images[target.image.sha256], target.image.sha256 in bank
        for score in ("best", "mean"):
            row = budget_row(
                DORI, f"{score} similarity", 50, round(found["evaluations"]), image, is_control, found[score]
            )
            rows.append(row)
    return rows
