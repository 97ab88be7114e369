"""Whether different memorised images depend on the same weights, as Chavhan et al. (arXiv 2406.18566) found.

The memorised images are divided at random into two halves, and each half marks weights by what its errors depend on,
against the same other images. The two masks are compared with each other, and the first of them with the mask of as
many images that the model was not trained on: any two masks located against the same images have weights in common.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from imgaudit.benchmark.harness.cases import load_cases
from imgaudit.benchmark.harness.figures import mean
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_batch
from imgaudit.lab.description import LabImage
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.mitigation.importance import ImportanceSettings, build_importance_mask, measure_importance
from imgaudit.mitigation.pruning import PipelineDenoiser
from imgaudit.mitigation.wanda import overlap
from imgaudit.mitigation.weight_layers import find_weight_layers
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose

SPLITS = 10
"""Random divisions into halves."""


class MaskOverlap(Record):
    """Intersection over union of masks, one for each random division."""

    images: int
    """Images that locate one mask."""
    retained: int
    """Images that all masks are located against."""
    share: float
    """Share of all weights that a mask marks."""
    halves: list[float]
    """Between two disjoint halves of the memorised images."""
    untrained: list[float]
    """Between the first half and as many images that the model was not trained on."""

    @property
    def by_chance(self) -> float:
        """Expected between masks that mark that share independently of each other.

        >>> round(MaskOverlap(images=1, retained=1, share=0.5, halves=[], untrained=[]).by_chance, 3)
        0.333
        """
        return self.share / (2 - self.share)


def read_captioned_images(
    images: Sequence[LabImage], located: Mapping[str, Path], resolution: int
) -> list[CaptionedImage]:
    """Read images of a lab, padded to a model's resolution. Raises InputError when some are missing."""
    targets, texts = load_cases(images, located).targets, {image.sha256: image.text for image in images}
    pixels = to_batch((one.load().pixels for one in targets), resolution, Framing.PAD)
    return [
        CaptionedImage(one.image.sha256, texts[one.image.sha256], picture)
        for one, picture in zip(targets, pixels, strict=True)
    ]


def measure_mask_overlap(
    denoiser: PipelineDenoiser,
    memorised: Sequence[CaptionedImage],
    untrained: Sequence[CaptionedImage],
    retained: Sequence[CaptionedImage],
    settings: ImportanceSettings,
    *,
    splits: int = SPLITS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> MaskOverlap:
    """Divide, locate and compare. Raises InputError for fewer than two memorised images, or no other ones.

    Every image is measured once: the importance for a set of images is the mean of those for its members.
    """
    layers, size = find_weight_layers(denoiser.network), min(len(memorised) // 2, len(untrained))
    if not size:
        raise InputError(f"expected two memorised images and another, but got {len(memorised)} and {len(untrained)}")
    groups = [
        group for index in range(splits) for group in draw_groups(memorised, untrained, size, settings.seed, index)
    ]
    measured, others = [*memorised, *untrained], measure_importance(denoiser, layers, retained, settings)
    sums = [{name: torch.zeros_like(one) for name, one in others.items()} for _ in groups]
    for done, image in enumerate(measured):
        on_progress(done, len(measured))
        own = measure_importance(denoiser, layers, [image], settings)
        for group, total in zip(groups, sums, strict=True):
            if image.sha256 in group:
                for name, one in own.items():
                    total[name] += one / size
    halves, strangers = [], []
    for first in range(0, len(sums), 3):
        half, rest, others_marked = (
            build_importance_mask(total, others, share=settings.share) for total in sums[first : first + 3]
        )
        halves.append(round(overlap(half, rest), 4))
        strangers.append(round(overlap(half, others_marked), 4))
    return MaskOverlap(images=size, retained=len(retained), share=settings.share, halves=halves, untrained=strangers)


def draw_groups(
    memorised: Sequence[CaptionedImage], untrained: Sequence[CaptionedImage], size: int, seed: int, index: int
) -> tuple[set[str], set[str], set[str]]:
    """Draw two disjoint halves of the memorised images and as many of the others, by SHA-256."""
    generator = torch.Generator().manual_seed(draw_seed(seed, "", "mask overlap", index))
    own = [memorised[place].sha256 for place in torch.randperm(len(memorised), generator=generator)]
    others = [untrained[place].sha256 for place in torch.randperm(len(untrained), generator=generator)]
    return set(own[:size]), set(own[size : 2 * size]), set(others[:size])


def format_mask_overlap(found: MaskOverlap) -> Iterator[str]:
    """Format the overlaps, with what chance would give."""
    yield f"masks by errors: of the weights that two masks of {found.share:.0%} mark, marked by both"
    for name, values in (
        ("two halves of the memorised", found.halves),
        ("one half, untrained images", found.untrained),
    ):
        yield f"{name:30} {mean(values):.1%} ({min(values):.1%} to {max(values):.1%})"
    yield f"{'by chance':30} {found.by_chance:.1%}"
    yield from wrap_prose(
        f"{found.images} images locate a mask, against the same {found.retained}. Mean, and range over "
        f"{len(found.halves)} random divisions, which share images: no confidence interval.",
        "",
    )
