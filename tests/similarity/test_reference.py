"""Tests of the image that generated ones are compared with."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from imgaudit.exceptions import InputError
from imgaudit.similarity.descriptors import DEFAULT_DESCRIPTORS
from imgaudit.similarity.matcher import Matcher
from imgaudit.similarity.reference import Reference


class CountingDescriptor:
    """The pixel descriptor, which counts the images that it was given."""

    name, side, dimension, binary = "counting", 32, 3072, False
    source = "made for this test"

    def __init__(self) -> None:
        self.described = 0

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        self.described += len(images)
        return DEFAULT_DESCRIPTORS[0].describe(images)


def test_a_reference_is_described_once_and_compares_as_the_image_itself_does() -> None:
    generator = torch.Generator().manual_seed(0)
    target, images = torch.rand(3, 48, 48, generator=generator), torch.rand(5, 3, 48, 48, generator=generator)
    counting = CountingDescriptor()
    matcher, reference = Matcher((*DEFAULT_DESCRIPTORS, counting)), Reference(target)
    by_reference = [matcher.compare(reference, images[start : start + 1]) for start in range(5)]
    assert counting.described == 6
    assert by_reference == [matcher.compare(target, images[start : start + 1]) for start in range(5)]


def test_a_reference_is_itself() -> None:
    reference = Reference(torch.zeros(3, 64, 64))
    assert Reference.of(reference) is reference
    assert reference.features is reference.features


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        _ = Reference(torch.full((3, 64, 64), float("nan"))).features
