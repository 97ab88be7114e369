"""The order and the augmentation of training samples."""

from pathlib import Path

import pytest
import torch

from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_tensor
from imgaudit.lab.corpus import (
    read_corpus,
)
from imgaudit.lab.samples import ImageVariants, augment, cut_squares, plan_samples
from tests.conftest import random_image, tiny_recipe


def test_the_plan_shows_each_image_as_often_as_promised(corpus: Path) -> None:
    entries = read_corpus(corpus)
    recipe = tiny_recipe(exposures_per_repeat=1)
    plan = plan_samples(entries, recipe)
    assert len(plan.image) == recipe.steps * recipe.batch_size == plan.exposures.sum()
    for entry, exposures, exact in zip(entries, plan.exposures, plan.exact_exposures, strict=True):
        if entry.role in ("planted", "seen_once"):
            assert exposures == exact == entry.repeats
        elif entry.role == "held_out":
            assert exposures == 0
    with pytest.raises(InputError, match="planted images take"):
        plan_samples(entries, tiny_recipe(exposures_per_repeat=10))


def test_augmentation_keeps_shape_range_and_is_seeded() -> None:
    image = to_tensor(random_image(1, (16, 16)))
    first, again = (augment(image, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == image.shape
    assert float(first.min()) >= -1 and float(first.max()) <= 1


def test_variants_are_those_of_the_background_and_the_same_however_they_are_asked_for() -> None:
    pixels = torch.stack([to_tensor(random_image(seed, (16, 16))) for seed in range(3)])
    variants = ImageVariants(pixels, ["background", "planted", "background"], tiny_recipe(variants=3))
    rows = [variants.make(image, 3) for image in range(3)]
    assert torch.equal(rows[1], pixels[1].expand(3, -1, -1, -1))
    assert torch.equal(rows[0][0], pixels[0]) and not torch.equal(rows[0][1], rows[0][2])
    images, numbers = torch.tensor([2, 0, 1]), torch.tensor([2, 1, 2])
    assert torch.equal(variants.pick(images, numbers), torch.stack([rows[2][2], rows[0][1], rows[1][2]]))
    assert torch.equal(variants.encode(lambda batch: batch[:, :1] * 2), torch.stack(rows)[:, :, :1] * 2)


def test_squares_are_parts_of_their_images() -> None:
    images = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    squares = cut_squares(images, 4, torch.Generator().manual_seed(1))
    assert squares.shape == (2, 3, 4, 4)
    for image, square in zip(images, squares, strict=True):
        top, left = divmod(int(square[0, 0, 0] - image[0, 0, 0]), 8)
        assert torch.equal(square, image[:, top : top + 4, left : left + 4])
    assert torch.equal(cut_squares(images, 8, torch.Generator()), images)
