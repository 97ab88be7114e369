"""Short vectors, against the whole ones."""

import numpy as np
import pytest

from imgaudit.index import bound
from imgaudit.index.bound import COARSE, FINE, MARGIN, BoundIndex, shorten
from imgaudit.similarity.descriptors import PixelDescriptor
from tests.support.vectors import unit_vectors


def smooth_vectors(count: int) -> np.ndarray:  # type: ignore[type-arg]
    """Vectors of pictures that are mostly smooth, as photographs are: some pairs correlate, most do not."""
    random = np.random.default_rng(0)
    coarse = np.repeat(random.normal(size=(count // 4, 3, 32 * 32 // 64)), 4, axis=0).reshape(-1, 3, 4, 4)
    pictures = coarse.repeat(8, axis=2).repeat(8, axis=3) + 0.4 * random.normal(size=(count, 3, 32, 32))
    flat = pictures.reshape(count, -1) - pictures.mean(axis=(1, 2, 3))[:, None]
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("block", [4, 8, 16])
def test_the_short_vectors_never_understate_a_similarity(block: int) -> None:
    vectors = np.concatenate([smooth_vectors(40), np.zeros((1, PixelDescriptor.dimension), np.float32)])
    short = shorten(vectors, block)
    assert short.shape == (41, 3 * (32 // block) ** 2 // 2 + 1)
    assert (short @ short.T - vectors @ vectors.T).min() > -1e-5
    # All of a vector is in its short one, whose length is one as well.
    np.testing.assert_allclose((short**2).sum(axis=1), (vectors**2).sum(axis=1), atol=1e-5)
    # What is constant on the blocks is in the short vector as a whole, and then the bound is the similarity itself.
    flat = np.random.default_rng(2).normal(size=(5, 3, 32 // block // 2, 32 // block // 2)).astype(np.float32)
    flat = flat.repeat(2 * block, axis=2).repeat(2 * block, axis=3).reshape(5, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(shorten(flat, block) @ shorten(flat, block).T, flat @ flat.T, atol=2e-3)


@pytest.mark.parametrize("columns", [7, 2048])
def test_every_pair_above_the_level_is_found_with_its_bound(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "COLUMNS", columns)
    vectors = smooth_vectors(40)
    index = BoundIndex()
    for start in range(0, 40, 10):
        index.add(vectors[start : start + 10])
    coarse, fine = (shorten(vectors, block) @ shorten(vectors, block).T for block in (COARSE, FINE))
    for query, found in enumerate(index.search(vectors, 0.8, 40)):
        assert len(index) == 40 and len(found) >= 4
        # The second step leaves fewer, and none that could be above the level is lost.
        assert {row for row, _ in found} <= set(np.flatnonzero(fine[query] > 0.8 - 2 * MARGIN))
        assert {row for row, _ in found} >= set(np.flatnonzero(fine[query] > 0.8))
        assert set(np.flatnonzero(vectors @ vectors[query] > 0.8)) <= {row for row, _ in found}
        values = [value for _, value in found]
        assert values == sorted(values, reverse=True)
        np.testing.assert_allclose(values, fine[query, [row for row, _ in found]], atol=MARGIN / 2)
    assert (fine <= coarse + 1e-6).all() and (fine > 0.8).sum() < (coarse > 0.8).sum()
    assert [len(found) for found in index.search(vectors, 0.8, 3)] == [3] * 40


def test_an_empty_index_finds_nothing() -> None:
    assert BoundIndex().search(unit_vectors(2, PixelDescriptor.dimension, seed=1), 0.9, 5) == [[], []]


def test_identical_pictures_reach_any_level() -> None:
    vectors = unit_vectors(3, PixelDescriptor.dimension, seed=2)
    index = BoundIndex()
    index.add(vectors)
    assert [[row for row, _ in found] for found in index.search(vectors, 1.0, 5)] == [[0], [1], [2]]
