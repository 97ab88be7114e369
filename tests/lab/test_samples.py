"""The order and the augmentation of training samples."""

from pathlib import Path

import pytest
import torch

from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_tensor
from imgaudit.lab.corpus import (
    read_corpus,
)
from imgaudit.lab.samples import augment, plan_samples
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
