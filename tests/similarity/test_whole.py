"""Tests of the comparison of whole pictures."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.similarity.whole import WholePicture


def noise(seed: int, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(st.integers(0, 1000), st.integers(32, 90), st.integers(32, 90))
def test_a_picture_is_like_itself_and_its_mirror_image_and_symmetrically_like_others(
    seed: int, height: int, width: int
) -> None:
    image = noise(seed, height, width)
    picture, mirrored, other = (WholePicture.of(one) for one in (image, image.flip(-1), noise(seed + 1)))
    for same in (picture, mirrored):
        assert picture.compare(same) == pytest.approx((1.0, 1.0), abs=1e-4)
    there, back = picture.compare(other), other.compare(picture)
    assert there.similarity == pytest.approx(back.similarity, abs=1e-4) and there.similarity < 0.5
    assert there.worst_quarter <= 1.0


def test_light_and_colour_do_not_count() -> None:
    image = noise(3)
    found = WholePicture.of(image).compare(WholePicture.of(0.5 * image + 0.2))
    assert found.similarity > 0.95 and found.worst_quarter > 0.9


def test_one_quarter_that_differs_shows() -> None:
    image, other = noise(4), noise(4)
    other[:, :32, :32] = noise(5)[:, :32, :32]
    found = WholePicture.of(image).compare(WholePicture.of(other))
    assert 0.6 < found.similarity < 0.9 and found.worst_quarter < 0.4


def test_empty_quarters_agree_and_what_only_one_picture_has_in_them_does_not() -> None:
    image = torch.ones(3, 64, 64)
    image[:, 32:, 32:] = noise(6)[:, 32:, 32:]
    assert WholePicture.of(image).compare(WholePicture.of(image)) == pytest.approx((1.0, 1.0), abs=1e-4)
    more = image.clone()
    more[:, :32, :32] = noise(7)[:, :32, :32]
    assert WholePicture.of(image).compare(WholePicture.of(more)).worst_quarter < 0.3
