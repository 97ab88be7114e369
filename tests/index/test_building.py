"""Building: from every kind of source, through bad files and kills, with names that stay apart."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgaudit.exceptions import ConfigError, IndexRefusedError, InputError
from imgaudit.index import (
    BuildOptions,
    Collection,
    Kind,
    SourceInput,
    add_to_collection,
    build_collection,
    describing,
    pair_id_lists,
)
from imgaudit.index.describing import Describer, ImageEntry
from imgaudit.index.image_folders import inspect_folder
from imgaudit.similarity.descriptors import DetailDescriptor, PixelDescriptor
from tests.conftest import random_image
from tests.support.deadly_file import deadly_begin
from tests.support.vectors import packed_bits, unit_vectors

GIVEN = BuildOptions("given")


def ids_of(collection: Collection) -> list[str]:
    return [name.id for shard in collection.shards for name in shard.names.look_up(np.arange(len(shard.names)))]


def test_kills_at_every_durable_step_lose_nothing_and_repeat_nothing(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    sources = [make_folder("photos", range(13)), make_folder("more", range(20, 29))]
    (sources[0] / "bad.png").write_bytes(b"no image")
    (sources[1] / "bad.png").write_bytes(b"none either")
    whole = build_collection(tmp_path / "whole", pair_id_lists(sources), BuildOptions("pixel", None, 7), workers=0)
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.index_kills", str(tmp_path / "killed"), *map(str, sources)],
        cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}, check=True, capture_output=True,
    )  # fmt: skip
    assert int(done.stdout) >= 10
    killed, expected = Collection.open(tmp_path / "killed"), Collection.open(tmp_path / "whole")
    assert killed.remark == "" and killed.manifest.count == whole.count == 22
    assert sorted(ids_of(killed)) == sorted(ids_of(expected)) and len(set(ids_of(killed))) == 22
    assert sorted(one.path for one in killed.skipped()) == sorted(str(source / "bad.png") for source in sources)
    queries = np.concatenate([describing.describe_entries(PixelDescriptor(), [ImageEntry(path)]).vectors
                              for path in sorted(sources[0].glob("picture*"))[:3]])  # fmt: skip
    assert list(killed.search(queries, 5)) == list(expected.search(queries, 5))
    assert {path.name for path in (tmp_path / "killed").iterdir() if not path.name.startswith(".lock")} == {
        "manifest.json", "shards", "skipped", "states",
    }  # fmt: skip


def test_the_same_names_in_different_folders_stay_apart(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    first = make_folder("photos", [1, 2])
    (tmp_path / "deep").mkdir()
    second, third = make_folder("deep/photos", [3, 4]), make_folder("photos/inner", [5])
    third.rename(first / "sub")
    for number, seed in ((1, 3), (2, 4)):
        (second / f"picture-00{seed}.png").rename(second / f"picture-00{number}.png")
    build_collection(tmp_path / "c", pair_id_lists([first, second]), workers=0)
    collection = Collection.open(tmp_path / "c")
    assert sorted(ids_of(collection)) == [
        "photos-2/picture-001.png", "photos-2/picture-002.png", "photos/picture-001.png", "photos/picture-002.png",
        "photos/sub/picture-005.png",
    ]  # fmt: skip
    vectors = describing.describe_entries(DetailDescriptor(), [ImageEntry(second / "picture-001.png")]).vectors
    assert collection.search(vectors, 1)[0][0][:2] == ("photos-2/picture-001.png", str(second / "picture-001.png"))


def test_bad_files_are_left_out_with_their_reason(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder("photos", range(5))
    (folder / "text.png").write_bytes(b"no image")
    (folder / "empty.jpg").touch()
    (folder / "link.png").symlink_to(folder / "picture-000.png")
    os.mkfifo(folder / "pipe.png")
    manifest = build_collection(tmp_path / "c", pair_id_lists([folder]), workers=0)
    assert (manifest.count, manifest.skipped_count) == (5, 4)
    reasons = {Path(one.path).name: one.skipped for one in Collection.open(tmp_path / "c").skipped()}
    assert "not an image" in reasons["text.png"] and "empty" in reasons["empty.jpg"]
    assert "symbolic link" in reasons["link.png"] and "not a regular file" in reasons["pipe.png"]
    lines = (tmp_path / "c/skipped/000000.jsonl").read_text().splitlines()
    assert len(lines) == 4 and all(set(json.loads(line)) >= {"path", "skipped"} for line in lines)


def test_files_that_are_no_images_are_passed_over_and_counted(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder("photos", range(3))
    (folder / "sub").mkdir()
    for name in ("logo.svg", "sub/LOGO.SVG", "poster.eps", "paper.pdf", "notes.txt", ".hidden", "README"):
        (folder / name).write_text("no image")
    manifest = build_collection(tmp_path / "c", pair_id_lists([folder]), workers=0)
    assert (manifest.count, manifest.skipped_count, manifest.sources[0].count) == (3, 0, 3)
    assert manifest.others == {".svg": 2, ".eps": 1, ".pdf": 1, "hidden": 1, "no suffix": 1}
    (folder / "later.svg").touch()
    assert build_collection(tmp_path / "c", pair_id_lists([folder]), workers=0) == manifest
    for number in range(15):
        (folder / f"a.{number}\udcff").touch()
    others = inspect_folder(folder).others
    assert sum(others.values()) == 22 and len(others) == 11 and max(map(len, others)) <= 20


def test_a_folder_without_a_usable_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"x")
    for _ in range(2):
        with pytest.raises(InputError, match="none of 1 files or vectors can be used; the first: the file is not"):
            build_collection(tmp_path / "c", pair_id_lists([tmp_path / "photos"]), workers=0)


@pytest.mark.slow
def test_a_file_that_kills_its_reader_is_left_out_and_the_rest_goes_on(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("photos", range(3))
    random_image(7).save(folder / "deadly.png")
    items = [ImageEntry(path) for path in sorted(folder.glob("*.png"))]
    monkeypatch.setattr(describing, "_begin", deadly_begin)
    with Describer("pixel", 1) as describer:
        parts = list(describer.describe(iter([items[:2], items[2:]])))
    assert [item.reason for part in parts for item in part.items] == [describing.KILLED, None, None, None]
    alone = describing.describe_entries(PixelDescriptor(), items[1:])
    np.testing.assert_allclose(np.concatenate([part.vectors for part in parts]), alone.vectors, atol=1e-6)


def test_adding_makes_new_shards_and_adding_again_changes_nothing(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = make_folder("a", range(4)), make_folder("b", range(10, 13))
    before = build_collection(tmp_path / "c", pair_id_lists([first]), workers=0)
    after = add_to_collection(tmp_path / "c", pair_id_lists([second]), workers=0)
    assert [shard.count for shard in after.shards] == [4, 3] and after.shards[0] == before.shards[0]
    assert add_to_collection(tmp_path / "c", pair_id_lists([second]), workers=0) == after
    assert build_collection(tmp_path / "c", pair_id_lists([first]), workers=0) == after
    random_image(99).save(second / "later.png")
    with pytest.raises(InputError, match=r"changed since the collection got them \(1 new"):
        add_to_collection(tmp_path / "c", pair_id_lists([second]), workers=0)
    with pytest.raises(InputError, match="holds a collection without"):
        build_collection(tmp_path / "c", pair_id_lists([make_folder("d", [1])]), workers=0)


def test_other_options_or_a_folder_with_something_else_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(5))
    sources = pair_id_lists([tmp_path / "v.npy"])
    build_collection(tmp_path / "c", sources, GIVEN)
    with pytest.raises(ConfigError, match="begun with --kind auto, but got hnsw"):
        build_collection(tmp_path / "c", sources, BuildOptions("given", Kind.HNSW))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and no collection"):
        build_collection(tmp_path / "full", sources, GIVEN)
    assert (tmp_path / "full/thesis.txt").read_text() == "mine"
    with pytest.raises(InputError, match="is given twice"):
        build_collection(tmp_path / "e", [*sources, *sources], GIVEN)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_of_any_float_become_unit_floats(tmp_path: Path, dtype: type) -> None:
    vectors = (unit_vectors(6) * np.arange(6)[:, None]).astype(dtype)
    vectors[3, 0] = np.nan
    np.save(tmp_path / "v.npy", vectors)
    manifest = build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"]), GIVEN)
    collection = Collection.open(tmp_path / "c")
    assert (manifest.count, manifest.sources[0].scaled) == (5, 3)
    (left_out,) = collection.skipped()
    assert (left_out.path, left_out.skipped) == ("v.npy/3", "the vector holds NaN or infinity")
    assert collection.search(unit_vectors(6)[5:], 1)[0][0].similarity == pytest.approx(1, abs=1e-3)


def test_a_pickled_npy_is_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/exploded",)

    np.save(tmp_path / "v.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"]), GIVEN)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not an .npy file"), (b"PK\3\4", "not an .npy file"), (np.zeros(3), r"expected vectors \(N, dimension\)"),
     (np.zeros((0, 4)), r"expected vectors \(N, dimension\)"), (np.zeros((2, 2), int), "expected floats")],
)  # fmt: skip
def test_other_npy_files_are_refused(tmp_path: Path, content: bytes | np.ndarray, reason: str) -> None:
    path = tmp_path / "v.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(InputError, match=reason):
        build_collection(tmp_path / "c", pair_id_lists([path]), GIVEN)


def test_a_truncated_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(100))
    os.truncate(tmp_path / "v.npy", 1_000)
    with pytest.raises(InputError, match=r"not an \.npy file of numbers"):
        build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"]), GIVEN)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl", ".parquet"])
def test_names_come_from_a_list_of_any_kind(tmp_path: Path, suffix: str) -> None:
    names, path = ["a,b", "ü\u202e", "c"], tmp_path / f"ids{suffix}"
    np.save(tmp_path / "v.npy", unit_vectors(3))
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": names, "path": ["x", "y", "z"]}), path)
    else:
        path.write_text({
            ".txt": "".join(f"{name}\n" for name in names),
            ".csv": "id,path\n" + "".join(f'"{name}",{place}\n' for name, place in zip(names, "xyz", strict=True)),
            ".jsonl": "".join(json.dumps({"id": n, "path": p}) + "\n" for n, p in zip(names, "xyz", strict=True)),
        }[suffix], encoding="utf-8")  # fmt: skip
    build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"], [path]), GIVEN)
    collection = Collection.open(tmp_path / "c")
    assert ids_of(collection) == [f"v.npy/{name}" for name in names]
    found = collection.search(unit_vectors(3)[1:2], 1)[0][0]
    assert found.path == ("" if suffix == ".txt" else "y")


def test_a_list_of_another_length_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3))
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"has 2 names, but .* holds 3 vectors"):
        build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"], [tmp_path / "ids.txt"]), GIVEN)
    assert not (tmp_path / "c/manifest.json").exists()
    with pytest.raises(ConfigError, match="expected one --ids"):
        pair_id_lists([tmp_path / "v.npy"], [tmp_path / "ids.txt"] * 2)


def test_names_that_would_lead_out_of_a_folder_are_left_out(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3))
    (tmp_path / "ids.txt").write_text("a\n../../etc/passwd\nb..c\n")
    build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"], [tmp_path / "ids.txt"]), GIVEN)
    collection = Collection.open(tmp_path / "c")
    assert ids_of(collection) == ["v.npy/a", "v.npy/b..c"]
    assert [one.skipped for one in collection.skipped()] == [
        "its name 'v.npy/../../etc/passwd' contains '..' as a folder"
    ]


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("rows", [3, 1_000])
def test_parquet_columns_are_vectors_and_ids(tmp_path: Path, fixed: bool, rows: int) -> None:
    vectors = unit_vectors(rows)
    flat = pa.array(vectors.ravel())
    column = (
        pa.FixedSizeListArray.from_arrays(flat, 16) if fixed else pa.array(vectors.tolist(), pa.list_(pa.float32()))
    )
    table = pa.table({"id": [f"row-{row}" for row in range(rows)], "embedding": column, "other": list(range(rows))})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=70)
    build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.parquet"]), BuildOptions("given", None, 64))
    collection = Collection.open(tmp_path / "c")
    assert ids_of(collection) == [f"v.parquet/row-{row}" for row in range(rows)]
    assert [line[0].id for line in collection.search(vectors, 1)] == ids_of(collection)
    wrong = SourceInput(tmp_path / "v.parquet", vector_column="other")
    with pytest.raises(InputError, match="is no list of numbers, but int64"):
        build_collection(tmp_path / "d", [wrong], GIVEN)


def test_parquet_without_whole_vectors_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": pa.array([[1.0, 2.0], [1.0]])}), tmp_path / "v.parquet")
    with pytest.raises(InputError, match=r"rows without a whole vector|several lengths"):
        build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.parquet"]), GIVEN)
    (tmp_path / "w.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="cannot be read"):
        build_collection(tmp_path / "c", pair_id_lists([tmp_path / "w.parquet"]), GIVEN)


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat", "HNSW8,Flat"])
def test_an_existing_faiss_index_gives_its_vectors(tmp_path: Path, factory: str) -> None:
    vectors = unit_vectors(1_000)
    index = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "old.faiss"))
    (tmp_path / "ids.csv").write_text("id\n" + "".join(f"{row}\n" for row in range(1_000)))
    build_collection(tmp_path / "c", pair_id_lists([tmp_path / "old.faiss"], [tmp_path / "ids.csv"]), GIVEN)
    found = Collection.open(tmp_path / "c").search(vectors[::100], 1)
    assert [line[0].id for line in found] == [f"old.faiss/{row}" for row in range(0, 1_000, 100)]


def test_an_existing_binary_index_gives_its_vectors_and_others_their_reason(tmp_path: Path) -> None:
    bits = packed_bits(100)
    index = faiss.IndexBinaryFlat(64)
    index.add(bits)  # type: ignore[call-arg]
    faiss.write_index_binary(index, str(tmp_path / "old.index"))
    build_collection(tmp_path / "c", pair_id_lists([tmp_path / "old.index"]), GIVEN)
    assert Collection.open(tmp_path / "c").search(bits[5:6], 1)[0][0].id == "old.index/5"
    (tmp_path / "x.faiss").write_bytes(b"IxFI no index")
    with pytest.raises(InputError, match="FAISS cannot give back"):
        build_collection(tmp_path / "d", pair_id_lists([tmp_path / "x.faiss"]), GIVEN)


def test_vectors_of_another_descriptor_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3))
    with pytest.raises(InputError, match="16 floats, but those of descriptor 'detail' have 1,024 floats"):
        build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"]))
    assert not (tmp_path / "c/manifest.json").exists()


def test_what_imgaudit_wrote_below_a_folder_is_passed_over(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder("crawl", range(2))
    run = folder / "imgaudit-run"
    (run / "images").mkdir(parents=True)
    random_image(5).save(run / "images" / "original.png")
    (run / "manifest.json").write_text('{"command": [], "model": {}, "versions": {}, "started": ""}')
    manifest = build_collection(tmp_path / "c", [SourceInput(folder)], workers=0)
    assert manifest.count == 2 and manifest.sources[0].own == ("imgaudit-run",)


def test_a_collection_in_which_nothing_can_be_used_does_not_ask_for_the_same_build_again(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.full((2, 8), np.nan, np.float32))
    with pytest.raises(InputError, match="none of 2 files or vectors can be used"):
        build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"]), BuildOptions("given"))
    with pytest.raises(IndexRefusedError, match=r"is empty: none of its 2 .* could be used, .* a new folder"):
        Collection.open(tmp_path / "c")
