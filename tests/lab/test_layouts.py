"""Layouts that many images share."""

import random

import numpy as np
import pytest

from imgaudit.lab.layouts import KINDS, LayoutKind, draw_layout
from tests.conftest import random_image


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_layout_agree_inside_its_mask_and_nowhere_else(kind: LayoutKind) -> None:
    layout = draw_layout(kind, random_image(1, (96, 80)), 64, random.Random(5))
    first, second = (np.asarray(layout.fill(random_image(seed, (50, 70)))) for seed in (2, 3))
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first[layout.mask], second[layout.mask])
    assert (first != second).any(axis=-1)[~layout.mask].mean() > 0.9
    assert 0.2 < layout.mask.mean() < 0.9


def test_a_layout_depends_on_its_drawing_and_seed_alone() -> None:
    def draw(seed: int) -> bytes:
        return draw_layout("frame", random_image(1), 32, random.Random(seed)).picture.tobytes()

    assert draw(5) == draw(5) != draw(6)
