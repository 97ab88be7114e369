"""What a lab model is shown: the augmented variants of every image and the order in which they come.

The whole order is a pure function of recipe and corpus, so a stopped training continues with the batch it would
have had.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.lab.recipe import LabRecipe

PLANTED_SHARE = 0.15
"""Planted images may be at most this share of all samples; more makes a model of these images alone."""

LAYOUT_SHARE = 0.3
"""Images of shared layouts may be at most this share: each of them shows something else too."""


PIXELS_ENCODED_TOGETHER = 2**19
"""Pixels of a batch for the autoencoder; more need memory and save no time."""


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

    Images with repeats are shown `repeats x exposures_per_repeat` times, never augmented; what remains of
    `steps x batch_size` is shared equally by the background. Held-out images do not occur.
    Raises InputError when planted images would exceed 15 % of the samples, or those of layouts 30 %, or when there is
    no background.
    """
    total = recipe.steps * recipe.batch_size
    exposures = np.zeros(len(entries), dtype=np.int64)
    background = [index for index, entry in enumerate(entries) if entry.role == "background"]
    for index, entry in enumerate(entries):
        if entry.trained and entry.role != "background":
            exposures[index] = entry.repeats * recipe.exposures_per_repeat
    for name, roles, share in (
        ("planted images", ("planted",), PLANTED_SHARE),
        ("images of shared layouts", ("template", "variation"), LAYOUT_SHARE),
    ):
        taken = sum(int(exposures[index]) for index, entry in enumerate(entries) if entry.role in roles)
        if taken > share * total:
            raise InputError(
                f"{name} take {taken:,} of {total:,} samples; at most {share:.0%} are allowed: "
                "train longer, plant fewer images or repeat them less"
            )
    remaining = total - int(exposures.sum())
    if not background or remaining < 0:
        raise InputError("expected background images and enough samples to show them; lower repeats or raise steps")
    each, extra = divmod(remaining, len(background))
    exposures[background] = each
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


def cut_squares(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Cut one square of every image (N, 3, H, W), each at a random place: (N, 3, side, side), or less of less."""
    high, wide = (max(1, length - side + 1) for length in images.shape[-2:])
    tops, lefts = (torch.randint(0, reach, (len(images),), generator=generator).tolist() for reach in (high, wide))
    places = zip(images, tops, lefts, strict=True)
    return torch.stack([image[:, top : top + side, left : left + side] for image, top, left in places])


@dataclass(frozen=True)
class ImageVariants:
    """The variants of every image, made when they are asked for: all at once they would fill the memory.

    Only background images have variants that differ; every other image is its own variant.
    """

    pixels: torch.Tensor
    """(images, 3, side, side) float32 in [-1, 1]."""
    roles: Sequence[str]
    """Role of every image."""
    recipe: LabRecipe
    """Decides the number of variants and seeds them."""

    @property
    def count(self) -> int:
        """Variants of every image, itself included."""
        return self.recipe.variants if self.recipe.augment else 1

    def make(self, image: int, count: int) -> torch.Tensor:
        """(count, 3, side, side) float32 in [-1, 1]: an image and its first variants."""
        original = self.pixels[image]
        if self.roles[image] != "background":
            return original.expand(count, -1, -1, -1)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + image)
        return torch.stack([original, *(augment(original, generator) for _ in range(count - 1))])

    def pick(self, images: torch.Tensor, variants: torch.Tensor) -> torch.Tensor:
        """(N, 3, side, side) float32 in [-1, 1]: one variant of each of N images.

        images, variants:  (N,) int64, numbers from 0
        """
        chosen = zip(images.tolist(), variants.tolist(), strict=True)
        return torch.stack([self.make(image, variant + 1)[-1] for image, variant in chosen])

    @torch.no_grad()
    def encode(self, encode: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """(images, variants, C, h, w) float32: the latents of every variant of every image.

        encode:  a function from (N, 3, side, side) in [-1, 1] to (N, C, h, w)
        """
        # An image that is its own variant is encoded once.
        counts = [self.count if role == "background" else 1 for role in self.roles]
        together = max(1, PIXELS_ENCODED_TOGETHER // (self.count * self.pixels[0, 0].numel()))
        latents: list[torch.Tensor] = []
        for first in range(0, len(self.pixels), together):
            numbers = range(first, min(first + together, len(self.pixels)))
            encoded = encode(torch.cat([self.make(number, counts[number]) for number in numbers]))
            latents += encoded.split([counts[number] for number in numbers])
        return torch.stack([one.expand(self.count, -1, -1, -1) for one in latents])
