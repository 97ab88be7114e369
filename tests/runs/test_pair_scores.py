"""Tests of the scores of pairs that a search keeps on disk."""

import json
from pathlib import Path

from imgaudit.runs.pair_scores import PAIRS, PairScores
from imgaudit.schema.match import PairScore

VERSIONS = {"imgaudit": "test"}


def score(geometric: float, photometric: float, similarity: float = 0.1) -> PairScore:
    return PairScore(geometric=geometric, photometric=photometric, similarity=similarity, worst_quarter=0.0)


def test_the_closest_image_has_the_most_features_in_place_and_the_most_alike_the_highest_similarity(
    tmp_path: Path,
) -> None:
    scores = PairScores(tmp_path, ["t"], VERSIONS)
    for image, one in (("a", score(3.0, 1.0, 0.8)), ("b", score(5.0, 0.5, 0.2)), ("c", score(5.0, 2.0, 0.3))):
        scores.add(image, [one])
    closest, alike = scores.closest("t"), scores.most_alike("t")
    assert closest is not None and closest[0] == "c"
    assert alike is not None and alike[0] == "a"
    assert PairScores(tmp_path, ["t"], VERSIONS).rows == scores.rows
    nothing = PairScores(tmp_path / "none", ["t"], VERSIONS)
    assert nothing.closest("t") is None and nothing.most_alike("t") is None


def test_rows_of_before_whole_pictures_were_compared_are_compared_again(tmp_path: Path) -> None:
    row = {"image": "a", "versions": VERSIONS, "subjects": ["t"], "scores": [[3.0, 1.0]]}
    (tmp_path / PAIRS).write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert PairScores(tmp_path, ["t"], VERSIONS).rows == {}
