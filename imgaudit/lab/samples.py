"""What a lab model is shown: the augmented variants of every image and the order in which they come.

The whole order is a pure function of recipe and corpus, so a stopped training continues with the batch it would
have had.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.lab.recipe import LabRecipe

PLANTED_SHARE = 0.15
"""Planted images may be at most this share of all samples; more makes a model of the planted images alone."""


@dataclass(frozen=True)
class SamplePlan:
    """The order of the training: which image, in which variant, sample number k is."""

    image: npt.NDArray[np.int64]
    """(samples,) position in the corpus."""
    variant: npt.NDArray[np.int64]
    """(samples,) which variant of that image; 0 is the image itself."""
    exposures: npt.NDArray[np.int64]
    """(entries,) how often each corpus image is shown, all variants together."""

    @property
    def exact_exposures(self) -> npt.NDArray[np.int64]:
        """(entries,) how often each image is shown unaugmented."""
        exact = self.image[self.variant == 0]
        return np.bincount(exact, minlength=len(self.exposures)).astype(np.int64)


def plan_samples(entries: Sequence[CorpusEntry], recipe: LabRecipe) -> SamplePlan:
    """Decide every sample of the training.

    Planted and seen-once images are shown `repeats x exposures_per_repeat` times, never augmented; what remains of
    `steps x batch_size` is shared equally by the background. Held-out images do not occur.
    Raises InputError when planted images would exceed 15 % of the samples, or when there is no background.
    """
    total = recipe.steps * recipe.batch_size
    exposures = np.zeros(len(entries), dtype=np.int64)
    background = [index for index, entry in enumerate(entries) if entry.role == "background"]
    for index, entry in enumerate(entries):
        if entry.role in ("planted", "seen_once"):
            exposures[index] = entry.repeats * recipe.exposures_per_repeat
    planted = sum(int(exposures[index]) for index, entry in enumerate(entries) if entry.role == "planted")
    if planted > PLANTED_SHARE * total:
        raise InputError(
            f"planted images take {planted:,} of {total:,} samples; at most {PLANTED_SHARE:.0%} are allowed: "
            "train longer, plant fewer images or repeat them less"
        )
    remaining = total - int(exposures.sum())
    if not background or remaining < 0:
        raise InputError("expected background images and enough samples to show them; lower repeats or raise steps")
    share, extra = divmod(remaining, len(background))
    exposures[background] = share
    exposures[background[:extra]] += 1

    generator = np.random.default_rng(recipe.seed)
    image = generator.permutation(np.repeat(np.arange(len(entries)), exposures))
    is_background = np.zeros(len(entries), dtype=bool)
    is_background[background] = True
    variants = recipe.variants if recipe.augment else 1
    variant = np.where(is_background[image], generator.integers(0, variants, len(image)), 0)
    return SamplePlan(image.astype(np.int64), variant.astype(np.int64), exposures)


def augment(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror, shift by up to an eighth of the side, and permute the colour channels, each at random.

    pixels:  (3, side, side) float32 in [-1, 1]; uncovered pixels become white
    """
    side = pixels.shape[-1]
    mirror, *channels = torch.rand(4, generator=generator).tolist()
    if mirror < 0.5:
        pixels = pixels.flip(-1)
    pixels = pixels[torch.tensor(channels).argsort()]
    reach = side // 8
    shift_y, shift_x = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
    padded = torch.nn.functional.pad(pixels, (reach,) * 4, value=1.0)
    return padded[:, reach + shift_y : reach + shift_y + side, reach + shift_x : reach + shift_x + side]


def make_image_variants(pixels: torch.Tensor, roles: Sequence[str], recipe: LabRecipe) -> torch.Tensor:
    """Make all variants of all images, (images, variants, 3, side, side); only background images have more than one.

    pixels:  (images, 3, side, side) float32 in [-1, 1]
    """
    count = recipe.variants if recipe.augment else 1
    rows = []
    for number, (image, role) in enumerate(zip(pixels, roles, strict=True)):
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        changed = [augment(image, generator) if role == "background" else image for _ in range(count - 1)]
        rows.append(torch.stack([image, *changed]))
    return torch.stack(rows)
