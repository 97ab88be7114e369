"""Pairs counted block by block, against a matrix of all of them from one index."""

import numpy as np
import numpy.typing as npt
import pytest

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.index import FlatIndex
from imgaudit.runs import cross_matches
from imgaudit.similarity.descriptors import PixelDescriptor

Floats = npt.NDArray[np.float32]


def draw_vectors(random: np.random.Generator, count: int) -> Floats:
    vectors = random.normal(size=(count, PixelDescriptor.dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def match_in_one_index(
    targets: dict[str, Floats], generations: dict[str, Floats], decoys: Floats, groups: list[list[str]]
) -> CrossMatches:
    index = FlatIndex(PixelDescriptor())
    index.add(list(targets), np.stack(list(targets.values())))
    index.add([""] * len(decoys), decoys)
    best = np.full((len(targets), len(index)), -np.inf, dtype=np.float32)
    for name, vectors in generations.items():
        best[list(targets).index(name)] = index.similarities(vectors).max(axis=0)
    return CrossMatches(list(targets), best, groups)


@pytest.mark.parametrize("frames", [3, 24], ids=["few frames, compared one by one", "many, multiplied as matrices"])
def test_blocks_give_what_one_index_gives(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(frames)
    targets = {f"{number:04d}": vector for number, vector in enumerate(draw_vectors(random, 1100))}
    decoys, groups = draw_vectors(random, 30), [["0001", "0003", "1050"]]
    generations = {name: draw_vectors(random, frames) for name in ("0000", "0001", "0002", "1023", "1024", "1099")}
    generations["0001"][0] = targets["1050"]  # its own work: no coincidence
    generations["0002"][1] = targets["0900"]  # another image's: told
    generations["1024"][0] = targets["1024"]
    expected = match_in_one_index(targets, generations, decoys, groups)
    monkeypatch.setattr(cross_matches, "BLOCK_COLUMNS", 1024)
    monkeypatch.setattr(cross_matches, "BLOCK_BYTES", 4 * 2000)  # one image at a time
    found = cross_matches.cross_match(
        PixelDescriptor(), targets.items(), generations.items(), decoys=decoys, groups=groups
    )
    assert (found.pairs, found.threshold()) == (expected.pairs, expected.threshold())
    for name in (*generations, "0500"):
        assert found.coincidence_p_value(name) == expected.coincidence_p_value(name)
        assert found.resembling(name) == expected.resembling(name)
    assert [other for other, _ in found.resembling("0002")] == ["0900"] and not found.resembling("0001")


def test_a_folder_without_scored_generations_has_no_pairs() -> None:
    [vector] = draw_vectors(np.random.default_rng(1), 1)
    found = cross_matches.cross_match(PixelDescriptor(), [("a", vector)], [])
    assert found.pairs == 0 and found.coincidence_p_value("a") is None and found.threshold() == np.inf
    assert "a" in found and "b" not in found
