"""Collections: exact where they say so, measured where they are not, and the same after being written and read."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.exceptions import ConfigError, InputError
from imgaudit.index import Collection, Kind, Match, choose_kind, faiss_file
from imgaudit.index.index_types import EXACT_BYTES
from imgaudit.index.manifest import IndexRecall
from imgaudit.schema.records import Skipped
from tests.support.vectors import collection_of, packed_bits, unit_vectors


def rows_of(collection: Collection, queries: np.ndarray, k: int) -> list[list[int]]:
    return [[int(match.id.split("/")[1]) for match in line] for line in collection.search(queries, k)]


@pytest.mark.parametrize("shard_vectors", [None, 130])
def test_a_flat_collection_finds_what_numpy_finds(tmp_path: Path, shard_vectors: int | None) -> None:
    stored, queries = unit_vectors(400), unit_vectors(50, seed=1)
    collection = collection_of(tmp_path, stored, shard_vectors=shard_vectors)
    similarities = queries @ stored.T
    expected = np.argsort(-similarities, axis=1, kind="stable")[:, :7]
    assert rows_of(collection, queries, 7) == expected.tolist()
    found = [[match.similarity for match in line] for line in collection.search(queries, 7)]
    np.testing.assert_allclose(found, np.take_along_axis(similarities, expected, 1), atol=1e-6)
    assert len(collection) == 400
    assert len(collection.shards) == (1 if shard_vectors is None else 4)


@pytest.mark.parametrize("shard_vectors", [None, 130])
def test_a_binary_collection_finds_what_numpy_finds(tmp_path: Path, shard_vectors: int | None) -> None:
    stored, queries = packed_bits(300), packed_bits(20, seed=1)
    collection = collection_of(tmp_path, stored, shard_vectors=shard_vectors)
    distances = np.bitwise_count(stored[None] ^ queries[:, None]).sum(axis=2)
    found = collection.search(queries, 5)
    expected = 1 - np.sort(distances, axis=1)[:, :5] / 64
    np.testing.assert_allclose([[match.similarity for match in line] for line in found], expected, atol=1e-6)
    for row, line in enumerate(found):
        assert [1 - distances[row, int(match.id.split("/")[1])] / 64 for match in line] == pytest.approx(expected[row])


def test_more_matches_than_vectors_are_all_vectors(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, unit_vectors(5), shard_vectors=2)
    (line,) = collection.search(unit_vectors(1, seed=3), 50)
    assert sorted(match.id for match in line) == [f"vectors.npy/{row}" for row in range(5)]
    assert collection.search(unit_vectors(3)[:0], 2) == []


def test_all_matches_above_a_bound_and_whether_the_list_is_cut(tmp_path: Path) -> None:
    stored, queries = unit_vectors(500, 4), unit_vectors(10, 4, seed=1)
    collection = collection_of(tmp_path, stored, shard_vectors=200)
    similarities = queries @ stored.T
    bound = 0.8
    counts = (similarities >= bound).sum(axis=1)
    for row, one in enumerate(collection.above(queries, bound)):
        assert len(one.matches) == counts[row] and not one.cut
        assert all(match.similarity >= bound for match in one.matches)
    most = int(np.median(counts))
    for row, one in enumerate(collection.above(queries, bound, most)):
        assert len(one.matches) == min(most, counts[row])
        assert one.cut == (counts[row] > most)


@pytest.mark.parametrize(("kind", "least"), [(Kind.HNSW, 0.9), (Kind.IVFPQ, 0.4)], ids=lambda value: str(value))
def test_recall_is_measured_and_what_it_says_holds(tmp_path: Path, kind: Kind, least: float) -> None:
    stored = unit_vectors(10_000)
    collection = collection_of(tmp_path, stored, kind)
    (shard,) = collection.manifest.shards
    assert shard.kind is kind and shard.reason == "it was asked for"
    assert isinstance(shard.recall, IndexRecall)
    recall = shard.recall
    assert recall.low <= recall.hits / recall.n <= recall.high
    assert recall.hits / recall.n >= least
    assert collection.recall == recall
    # Measured again from outside, on other vectors of the collection.
    others = stored[::25]
    similarities = others @ stored.T
    similarities[np.arange(400), np.arange(0, 10_000, 25)] = -1
    found = [line[-1].similarity for line in collection.search(others, 2)]
    again = float((np.array(found) >= similarities.max(axis=1) - 1e-5).mean())
    assert abs(again - recall.hits / recall.n) < 0.1


@pytest.mark.parametrize("kind", [Kind.IVF, Kind.HNSW])
def test_binary_kinds_find_copies(tmp_path: Path, kind: Kind) -> None:
    stored = packed_bits(10_000)
    collection = collection_of(tmp_path, stored, kind)
    assert isinstance(collection.manifest.shards[0].recall, IndexRecall)
    found = [line[0].id for line in collection.search(stored[:100], 1)]
    assert sum(name == f"vectors.npy/{row}" for row, name in enumerate(found)) >= 95


def test_the_kind_follows_from_number_dimension_and_bits() -> None:
    assert choose_kind(1_000, 64, binary=False).kind is Kind.FLAT
    edge = EXACT_BYTES // 256
    assert choose_kind(edge, 64, binary=False).kind is Kind.FLAT
    assert choose_kind(edge + 1, 64, binary=False).kind is Kind.HNSW
    assert choose_kind(2_000_001, 64, binary=False).kind is Kind.IVFPQ
    assert choose_kind(2_000_000, 256, binary=True).kind is Kind.FLAT
    assert choose_kind(5_000_000, 256, binary=True).kind is Kind.IVF
    few = choose_kind(100, 64, binary=False, total=5_000_000)
    assert few.kind is Kind.FLAT and "100 vectors" in few.reason
    assert all(choose_kind(n, 64, binary=False).reason for n in (1, 1_000_000, 5_000_000))
    with pytest.raises(ConfigError, match="flat, hnsw, ivf for packed bits, but got ivfpq"):
        choose_kind(10, 64, binary=True, wanted=Kind.IVFPQ)


def test_a_flat_index_says_why_it_has_no_recall(tmp_path: Path) -> None:
    assert collection_of(tmp_path, unit_vectors(10)).recall == Skipped(skipped="the search is exact")


@pytest.mark.parametrize(
    "queries", [unit_vectors(2, 8), packed_bits(2, 128), unit_vectors(1)[0], unit_vectors(2).astype(np.float64)]
)
def test_queries_of_another_shape_are_refused(tmp_path: Path, queries: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected queries \(N, 16\) float32"):
        collection_of(tmp_path, unit_vectors(10)).search(queries, 1)


def test_the_manifest_says_what_was_built_from_what(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, unit_vectors(10) * 3)
    values = json.loads((collection.folder / "manifest.json").read_text())
    (source,) = values["sources"]
    assert source["count"] == source["done"] == source["scaled"] == 10
    assert values["descriptor"]["dimension"] == 16
    assert values["versions"]["numpy"] == np.__version__
    (shard,) = values["shards"]
    assert set(shard["index"]) == {"bytes", "sha256"}


def test_what_was_found_reads_like_a_list_of_lists(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, unit_vectors(30), shard_vectors=20)
    found = collection.search(unit_vectors(30)[:5], 3)
    assert len(found) == 5 and found == list(found) and found[-1] == found[4] and found[1:3] == [found[1], found[2]]
    assert all(isinstance(match, Match) and type(match.similarity) is float for line in found for match in line)
    with pytest.raises(IndexError):
        found[5]
    # Queries without a match have an empty line of their own.
    above = collection.above(np.concatenate([unit_vectors(30)[:1], -unit_vectors(30)[:1]]), 0.99)
    assert [[match.id for match in one.matches] for one in above] == [["vectors.npy/0"], []]
    (cut,) = collection.above(unit_vectors(30)[:1], -1, 4)
    assert cut.matches == collection.search(unit_vectors(30)[:1], 4)[0] and cut.cut


@settings(max_examples=25)
@given(count=st.integers(1, 60), shard=st.integers(1, 60), k=st.integers(1, 70), seed=st.integers(0, 99))
def test_shards_never_change_what_is_found(
    tmp_path_factory: pytest.TempPathFactory, count: int, shard: int, k: int, seed: int
) -> None:
    stored, queries = unit_vectors(count, 8, seed), unit_vectors(3, 8, seed + 100)
    collection = collection_of(tmp_path_factory.mktemp("shards"), stored, shard_vectors=shard)
    similarities = np.sort(queries @ stored.T, axis=1)[:, ::-1][:, :k]
    found = [[match.similarity for match in line] for line in collection.search(queries, k)]
    np.testing.assert_allclose(found, similarities, atol=1e-6)


def test_a_gpu_without_enough_memory_leaves_the_search_to_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(index: object) -> object:
        asked.append(index)
        raise RuntimeError("out of memory")

    stored = unit_vectors(20)
    collection_of(tmp_path, stored)
    assert not asked
    monkeypatch.setattr(faiss_file, "count_gpus", lambda: 1)
    monkeypatch.setattr(faiss_file.faiss, "index_cpu_to_all_gpus", refuse)
    collection = Collection.open(tmp_path / "collection")
    assert len(asked) == 1 and rows_of(collection, stored, 1) == [[row] for row in range(20)]
