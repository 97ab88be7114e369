"""The index in memory: exact, and nothing but itself suffers from a vector that is not finite."""

import numpy as np
import pytest

from imgaudit.index.flat import FlatIndex
from imgaudit.similarity.descriptors import PdqDescriptor, PixelDescriptor
from tests.support.vectors import packed_bits, unit_vectors


def test_similarities_are_inner_products_in_the_order_added() -> None:
    vectors = unit_vectors(7, PixelDescriptor().dimension, seed=1)
    index = FlatIndex(PixelDescriptor())
    index.add([f"{number}" for number in range(7)], vectors)
    np.testing.assert_allclose(index.similarities(vectors[:3]), vectors[:3] @ vectors.T, atol=1e-5)
    assert index.similarities(vectors[:0]).shape == (0, 7)


def test_similarities_of_bits_count_those_that_agree() -> None:
    descriptor = PdqDescriptor()
    bits = packed_bits(5, descriptor.dimension, seed=2)
    index = FlatIndex(descriptor)
    index.add(list("abcde"), bits)
    unpacked = np.unpackbits(bits, axis=1)
    expected = 1 - (unpacked[:, None] != unpacked[None]).mean(axis=2)
    np.testing.assert_allclose(index.similarities(bits), expected, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_near_nothing(value: float) -> None:
    dimension = PixelDescriptor().dimension
    vectors = unit_vectors(3, dimension, seed=3)
    vectors[1, 5] = value
    index = FlatIndex(PixelDescriptor())
    index.add(["first", "broken", "last"], vectors)
    found = index.similarities(vectors)
    # Before, the row that FAISS leaves empty overwrote the last vector's similarity.
    assert np.isclose(found[2, 2], 1) and np.isclose(found[0, 2], vectors[0] @ vectors[2], atol=1e-6)
    assert np.isneginf(found[:, 1]).all() and np.isneginf(found[1]).all()
    assert [match.id for match in index.search(vectors[2:], 3)[0]] == ["last", "first"]
    assert index.search(vectors[1:2], 3) == [[]]
