"""Pairs counted batch by batch, against a matrix of all of them."""

import numpy as np
import numpy.typing as npt
import pytest

from imgaudit.runs import cross_matches
from imgaudit.similarity.descriptors import PixelDescriptor

Floats = npt.NDArray[np.float32]

FRAMES = 3
"""Generations of an image; the last one of some has more."""


def draw_vectors(random: np.random.Generator, count: int) -> Floats:
    vectors = random.normal(size=(count, PixelDescriptor.dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def count_all(
    targets: dict[str, Floats], generations: dict[str, Floats], decoys: Floats, work: list[str], most: int
) -> tuple[int, dict[str, float]]:
    """Compare each with each of the first columns: the number of pairs, and the p-value of every image."""
    names, columns = list(targets), np.concatenate([np.stack(list(targets.values())), decoys]).astype(np.float64)
    own, others = {}, list[float]()
    for name, vectors in generations.items():
        best = (vectors.astype(np.float64) @ columns.T).max(axis=0)
        own[name] = best[names.index(name)]
        related = {names.index(one) for one in (work if name in work else [name])}
        others += [best[column] for column in range(most) if column not in related]
    level = {name: value - cross_matches.ROUNDING for name, value in own.items()}
    return len(others), {
        name: (1 + sum(one >= value for one in others)) / (1 + len(others)) for name, value in level.items()
    }


@pytest.mark.parametrize("most", [1130, 1110, 700], ids=["all", "some decoys", "some targets"])
@pytest.mark.parametrize("batch", [1, 128], ids=["image by image", "many at once"])
def test_batches_give_what_a_matrix_gives(most: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(batch)
    targets = {f"{number:04d}": vector for number, vector in enumerate(draw_vectors(random, 1100))}
    decoys, groups = draw_vectors(random, 30), [["0001", "0003", "1050"]]
    asked = ("0000", "0001", "0002", "0699", "0700", "1023", "1099")
    generations = {name: draw_vectors(random, FRAMES + (name == "0699")) for name in asked}
    generations["0001"][0] = targets["1050"]  # its own work: no coincidence
    generations["0002"][1] = targets["0900"]  # another image's: told, also where it is not in the sample
    generations["1023"][0] = 0.98 * targets["1023"] + 0.02 * targets["0004"]
    pairs, p_values = count_all(targets, generations, decoys, groups[0], most)
    monkeypatch.setattr(cross_matches, "MOST_OTHERS", most)
    monkeypatch.setattr(cross_matches, "BATCH", batch)
    found = cross_matches.cross_match(targets.items(), generations.items(), decoys=decoys, groups=groups)
    assert found.pairs == pairs and found.coincidence_p_value("0500") is None
    assert {name: found.coincidence_p_value(name) for name in asked} == p_values
    assert {name: [other for other, _ in found.resembling(name)] for name in asked} == {
        name: ["0900"] if name == "0002" else [] for name in asked
    }
    assert found.resembling("0002")[0][1] == pytest.approx(1, abs=1e-6)


def test_identical_targets_count_as_pairs_however_they_are_summed() -> None:
    """Two files of one picture that are not told to be one work: what is as close to one is as close to the other."""
    random = np.random.default_rng(5)
    vectors = draw_vectors(random, 40)
    targets = {f"{number:02d}": vector for number, vector in enumerate(vectors)}
    targets["39"] = targets["00"].copy()
    copies = vectors[:1] + 0.01 * draw_vectors(random, 3)
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    found = cross_matches.cross_match(targets.items(), [("00", copies), ("05", vectors[5:6])])
    assert found.pairs == 2 * 39
    assert found.coincidence_p_value("00") == 2 / 79 and found.resembling("00") == []
    assert found.coincidence_p_value("05") == 1 / 79


def test_as_many_others_are_named_as_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    picture, unlike = draw_vectors(random, 2)
    targets = {"00": unlike} | {f"{number:02d}": picture for number in range(1, 20)}
    monkeypatch.setattr(cross_matches, "MOST_RESEMBLING", 4)
    found = cross_matches.cross_match(targets.items(), [("00", picture[None])])
    assert [name for name, _ in found.resembling("00")] == ["01", "02", "03", "04"]


def test_a_folder_without_scored_generations_has_no_pairs() -> None:
    [vector] = draw_vectors(np.random.default_rng(1), 1)
    found = cross_matches.cross_match([("a", vector)], [])
    assert found.pairs == 0 and found.coincidence_p_value("a") is None
    assert "a" in found and "b" not in found
    assert cross_matches.cross_match([], [], decoys=vector[None]).pairs == 0
