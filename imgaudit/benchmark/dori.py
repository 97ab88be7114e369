"""DoRI's protocol as a baseline (arXiv 2507.16880): invert, then sample, and score by similarity alone.

50 Adam steps at learning rate 0.1 on batches of 8 fresh draws with uniform timesteps, from the null embedding; then 10
seeds of 50 sampling steps. The published similarity is SSCD; here it is the descriptor that decides the audit's hits,
and classifier-free guidance is the one at which the labs' truth is measured.
"""

from collections.abc import Sequence

import torch

from imgaudit.config import Framing, InversionConfig
from imgaudit.denoiser import Denoiser
from imgaudit.executor import Executor
from imgaudit.generation import generate, replica_seeds
from imgaudit.images import frame_image, to_tensor
from imgaudit.inversion import invert
from imgaudit.matching import DECIDING_DESCRIPTOR, Matcher
from imgaudit.portfolio import Target

SEEDS, INFERENCE_STEPS, GUIDANCE_SCALE = 10, 50, 3.0


def dori_inversion(denoiser: Denoiser) -> InversionConfig:
    """DoRI's optimisation; its learning rate is not scaled by the embedding, ours is, hence the division."""
    scales = denoiser.null_condition().root_mean_square().values()
    return InversionConfig(
        steps=50, draws=8, learning_rate=0.1 / (max(scales) or 1.0), timesteps="uniform", paired_steps=0
    )


def dori_similarities(
    denoiser: Denoiser, targets: Sequence[Target], *, framing: Framing, run_seed: int, executor: Executor
) -> list[tuple[float, float]]:
    """Highest and mean similarity over the seeds, per target; -1, the lowest, for a target without a usable frame."""
    framed = torch.stack(
        [to_tensor(frame_image(target.image.pixels, denoiser.resolution, framing)) for target in targets]
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
        [replica_seeds(run_seed, sha256, SEEDS) for sha256 in sha256s],
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
