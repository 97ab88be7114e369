"""The planted images that a lab model memorised, measured by other means than the audit's own.

An image is *memorised* when at least 32 of 64 seeds at guidance 3 from its own caption land within RMS 0.1 of
decode(encode(image)) and closer to it than half their mean distance to the 50 nearest training images
(Carlini et al. 2023). A *layout* that many images share is memorised when as many seeds do so inside its region, where
the 50 nearest training images are of other families. The audit uses other seeds and another detector.

When none of the first 16 seeds lands on an image, the other 48 are not drawn: an image that half of all seeds reproduce
would be missed once in 65,536 times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.schema.pairs import Region

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
    layouts: int = 0
    """Seeds that land on the image inside the region of its layout, for an image that has one."""

    @property
    def memorised(self) -> bool:
        """At least 32 seeds."""
        return self.reproduced >= NEEDED


def cover_with_region(region: Region, side: int) -> torch.Tensor:
    """Return (side, side) bool: True at the pixels of a square picture that lie in a region."""
    mask = torch.from_numpy(region.mask())[None, None].float()
    return interpolate(mask, (side, side), mode="nearest-exact")[0, 0] > 0


def carlini_ratio(generated: torch.Tensor, target: torch.Tensor, training: torch.Tensor) -> torch.Tensor:
    """Divide the distance to the target by half the mean distance to the 50 nearest other training images.

    Below 1 the image counts as extracted (Carlini et al. 2023).

    generated:  (N, 3, H, W), or (N, 3, pixels) of a part; target: (3, H, W); training: (M, 3, H, W) without the
                target; all in [-1, 1]
    Returns     (N,) float32
    """
    flat = generated.flatten(1)
    own = (flat - target.flatten()).norm(dim=1)
    others = torch.cdist(flat, training.flatten(1))
    nearest = others.topk(min(NEIGHBOURS, others.shape[1]), largest=False).values.mean(dim=1)
    return own / (ALPHA * nearest)


@dataclass(frozen=True)
class Subject:
    """An image whose truth is measured."""

    caption: str
    """What the model is asked for."""
    others: Sequence[int]
    """Rows of the training images it is compared with: never itself."""
    region: torch.Tensor | None = None
    """(H, W) bool: the place of the layout that it shares with other images."""
    strangers: Sequence[int] = ()
    """Those of `others` that do not share the layout."""


def measure_truth(
    denoiser: Denoiser,
    subjects: Mapping[int, Subject],
    pixels: torch.Tensor,
    executor: Executor,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Truth]:
    """Sample every caption 64 times, or 16 times when none of these succeeds, and count the reproductions.

    subjects:  row of an image in `pixels` to what is asked for, of the images that are measured
    pixels:    (M, 3, H, W) in [-1, 1]
    Returns    row to the result
    """
    condition = denoiser.condition([subject.caption for subject in subjects.values()])
    rendered = denoiser.decode(denoiser.encode(pixels[list(subjects)]))
    seeds = [FIRST_SEED + number for number in range(SEEDS)]
    truths = {}
    for row, (place, subject) in enumerate(subjects.items()):

        def count(first: int, last: int, row: int = row, subject: Subject = subject) -> Truth:
            def sample(rows: slice) -> torch.Tensor:
                own = seeds[first:last][rows]
                return denoiser.sample(
                    condition.select(torch.full((len(own),), row)), own, guidance_scale=GUIDANCE_SCALE,
                    num_inference_steps=INFERENCE_STEPS,
                )  # fmt: skip

            generated = torch.cat(list(executor.slices(last - first, sample, each=2)))
            whole = _count_landed(generated, rendered[row], pixels[list(subject.others)])
            if (region := subject.region) is None:
                return Truth(whole, last - first)
            strangers = pixels[list(subject.strangers)][:, :, region]
            layouts = _count_landed(generated[:, :, region], rendered[row][:, region], strangers)
            return Truth(whole, last - first, layouts)

        early = count(0, FIRST_SEEDS)
        if early.reproduced or early.layouts:
            late = count(FIRST_SEEDS, SEEDS)
            early = Truth(early.reproduced + late.reproduced, SEEDS, early.layouts + late.layouts)
        truths[place] = early
        progress(row + 1, len(subjects))
    return truths


def _count_landed(generated: torch.Tensor, target: torch.Tensor, training: torch.Tensor) -> int:
    """Count the images, or parts of images, that lie within the limit of the target and nearer to it than others do."""
    rms = ((generated - target) / 2).square().flatten(1).mean(dim=1).sqrt()
    return int(((rms <= RMS_LIMIT) & (carlini_ratio(generated, target, training) < 1)).sum())
