"""The planted images that a lab model memorised, measured by other means than the audit's own.

An image is *memorised* when at least 32 of 64 seeds at guidance 3 from its own caption land within RMS 0.1 of
decode(encode(image)) and closer to it than half their mean distance to the 50 nearest training images
(Carlini et al. 2023). The audit uses other seeds and another detector. When none of the first 16 seeds lands on an
image, the other 48 are not drawn: an image that half of all seeds reproduce would be missed once in 65,536 times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor

SEEDS = 64
FIRST_SEEDS = 16
NEEDED = 32
GUIDANCE_SCALE = 3.0
INFERENCE_STEPS = 20
RMS_LIMIT = 0.1
NEIGHBOURS = 50
ALPHA = 0.5
FIRST_SEED = 9_000_000_000
"""Seeds of the truth; audits derive theirs from hashes and never use these."""


@dataclass(frozen=True)
class Truth:
    """The number of seeds with which the caption of one image returns the image."""

    reproduced: int
    """Seeds that land on the image by both criteria."""
    seeds: int
    """Seeds drawn: 64, or 16 when none of those landed, or 0 for an image that was not measured."""

    @property
    def memorised(self) -> bool:
        """At least 32 seeds."""
        return self.reproduced >= NEEDED


def carlini_ratio(generated: torch.Tensor, target: torch.Tensor, training: torch.Tensor) -> torch.Tensor:
    """Divide the distance to the target by half the mean distance to the 50 nearest other training images.

    Below 1 the image counts as extracted (Carlini et al. 2023).

    generated:  (N, 3, H, W); target: (3, H, W); training: (M, 3, H, W) without the target; all in [-1, 1]
    Returns     (N,) float32
    """
    flat = generated.flatten(1)
    own = (flat - target.flatten()).norm(dim=1)
    others = torch.cdist(flat, training.flatten(1))
    nearest = others.topk(min(NEIGHBOURS, others.shape[1]), largest=False).values.mean(dim=1)
    return own / (ALPHA * nearest)


def measure_truth(
    denoiser: Denoiser,
    captions: Mapping[int, str],
    pixels: torch.Tensor,
    trained: Sequence[int],
    executor: Executor,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Truth]:
    """Sample every caption 64 times, or 16 times when none of these succeeds, and count the reproductions.

    captions:  row of an image in `pixels` to its caption, of the images that are measured
    pixels:    (M, 3, H, W) in [-1, 1]
    trained:   rows of the images that were trained on; an image is not compared with itself
    Returns    row to the result
    """
    condition = denoiser.condition(list(captions.values()))
    rendered = denoiser.decode(denoiser.encode(pixels[list(captions)]))
    seeds = [FIRST_SEED + number for number in range(SEEDS)]
    truths = {}
    for row, place in enumerate(captions):
        others = pixels[[one for one in trained if one != place]]

        def landed(first: int, last: int, row: int = row, others: torch.Tensor = others) -> int:
            def sample(rows: slice) -> torch.Tensor:
                own = seeds[first:last][rows]
                return denoiser.sample(
                    condition.select(torch.full((len(own),), row)), own, guidance_scale=GUIDANCE_SCALE,
                    num_inference_steps=INFERENCE_STEPS,
                )  # fmt: skip

            generated = torch.cat(list(executor.slices(last - first, sample, each=2)))
            rms = ((generated - rendered[row]) / 2).square().flatten(1).mean(dim=1).sqrt()
            ratio = carlini_ratio(generated, rendered[row], others)
            return int(((rms <= RMS_LIMIT) & (ratio < 1)).sum())

        early = landed(0, FIRST_SEEDS)
        truths[place] = Truth(early + landed(FIRST_SEEDS, SEEDS), SEEDS) if early else Truth(0, FIRST_SEEDS)
        progress(row + 1, len(captions))
    return truths
