"""The index in memory: exact, and nothing but itself suffers from a vector that is not finite."""

import numpy as np
import pytest

from imgaudit.index.flat import FlatIndex
from imgaudit.similarity.descriptors import PixelDescriptor
from tests.support.vectors import unit_vectors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_near_nothing(value: float) -> None:
    dimension = PixelDescriptor().dimension
    vectors = unit_vectors(3, dimension, seed=3)
    vectors[1, 5] = value
    index = FlatIndex(PixelDescriptor())
    index.add(["first", "broken", "last"], vectors)
    assert [match.id for match in index.search(vectors[2:], 3)[0]] == ["last", "first"]
    assert index.search(vectors[1:2], 3) == [[]]
