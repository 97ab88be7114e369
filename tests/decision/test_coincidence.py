"""Coincidence over all pairs of a folder, against counting every pair."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.io.framing import to_tensor
from imgaudit.runs.cross_matches import cross_match
from imgaudit.similarity.descriptors import PixelDescriptor
from tests.conftest import random_image


def pictures(count: int, side: int = 48) -> torch.Tensor:
    return torch.stack([to_tensor(random_image(seed, (side, side))) for seed in range(count)])


def test_a_replica_of_the_wrong_target_is_seen() -> None:
    vectors = PixelDescriptor().describe(pictures(3))
    targets = dict(zip("abc", vectors, strict=True))
    crossed = cross_match(targets.items(), [("a", vectors[1:2]), ("b", vectors[1:2])])
    assert [name for name, _ in crossed.resembling("a")] == ["b"]
    assert crossed.resembling("b") == []
    assert crossed.coincidence_p_value("c") is None


def test_coincidence_counts_other_pairs_at_least_as_similar() -> None:
    best = np.array([[0.9, 0.2, 0.3], [0.1, 0.3, 0.2], [0.0, 0.3, 0.95]])
    crossed = CrossMatches(["a", "b", "c"], best)
    assert crossed.coincidence_p_value("a") == pytest.approx(1 / 7)
    assert crossed.coincidence_p_value("b") == pytest.approx(3 / 7)
    assert CrossMatches(["a"], np.array([[0.9]])).coincidence_p_value("a") is None


@given(
    best=hnp.arrays(np.float64, (5, 7), elements=st.sampled_from([-np.inf, 0.1, 0.5, 0.9, 0.95, 1.0])),
    groups=st.sampled_from([(), (("a", "b"),), (("a", "b"), ("c", "e", "elsewhere"))]),
)
def test_coincidence_is_what_counting_every_pair_gives(
    best: npt.NDArray[np.float64], groups: Sequence[Sequence[str]]
) -> None:
    ids = list("abcde")
    work = {name: number for number, group in enumerate(groups) for name in group}
    same = lambda i, j: i == j or (ids[i] in work and j < 5 and work.get(ids[j]) == work[ids[i]])  # noqa: E731
    others = [best[i, j] for i in range(5) for j in range(7) if not same(i, j) and np.isfinite(best[i, j])]
    crossed = CrossMatches(ids, best, groups)
    assert crossed.pairs == len(others)
    for i, name in enumerate(ids):
        own = best[i, i]
        known = bool(others) and np.isfinite(own)
        expected = (1 + sum(other >= own for other in others)) / (1 + len(others)) if known else None
        assert crossed.coincidence_p_value(name) == expected
        closer = {ids[j]: best[i, j] for j in range(5) if not same(i, j) and best[i, j] > max(own, 0.9)}
        assert dict(crossed.resembling(name)) == closer
