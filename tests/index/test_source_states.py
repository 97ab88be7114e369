"""Sources that are given again: what changed since is named, and another time alone is no change."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgaudit.exceptions import InputError
from imgaudit.index import (
    BuildOptions,
    Collection,
    SourceInput,
    add_to_collection,
    build_collection,
    pair_id_lists,
)
from imgaudit.index.manifest import write_manifest
from tests.conftest import random_image
from tests.support.vectors import unit_vectors

GIVEN = BuildOptions("given")


def test_a_changed_source_stops_a_build_that_goes_on(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(30))

    def stop(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    sources, options = pair_id_lists([tmp_path / "v.npy"]), BuildOptions("given", None, 5)
    with pytest.raises(KeyboardInterrupt):
        build_collection(tmp_path / "c", sources, options, on_progress=stop)
    collection = Collection.open(tmp_path / "c")
    assert len(collection) == 15 and collection.remark.startswith("15 files or vectors of 1 sources are not in")
    np.save(tmp_path / "v.npy", unit_vectors(30, seed=1))
    with pytest.raises(
        InputError, match=r"changed since the collection got it \(digest\): .* what is there now: imgaudit index build"
    ):
        build_collection(tmp_path / "c", sources, options)


def test_a_file_that_was_replaced_in_place_is_named(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder, sources = make_folder("crawl", range(4)), [SourceInput(tmp_path / "crawl")]
    assert build_collection(tmp_path / "c", sources, workers=0).count == 4
    assert build_collection(tmp_path / "c", sources, workers=0).count == 4
    first, second, *_ = sorted(folder.glob("*.png"))
    status = first.stat()
    random_image(77).save(first)
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    for again in (build_collection, add_to_collection):
        with pytest.raises(InputError, match=rf"1 replaced: '{first.name}'\): .*To build a new one"):
            again(tmp_path / "c", sources, workers=0)
    second.unlink()
    random_image(78).save(folder / "added.png")
    with pytest.raises(InputError, match=rf"1 replaced: '{first.name}'; 1 gone: '{second.name}'; 1 new: 'added.png'"):
        build_collection(tmp_path / "c", sources, workers=0)
    new = tmp_path / "new"
    new.mkdir()
    random_image(79).save(new / "more.png")
    assert add_to_collection(tmp_path / "c", [SourceInput(new)], workers=0).count == 5


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_date_is_named(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """As `cp --preserve` and `rsync --times` leave it: only the system's own time of the entry is another."""
    folder, sources = make_folder("crawl", range(3)), [SourceInput(tmp_path / "crawl")]
    for seed, path in enumerate(sorted(folder.glob("*.png"))):
        random_image(seed).save(path.with_suffix(".bmp"))
        path.unlink()
    build_collection(tmp_path / "c", sources, workers=0)
    first = min(folder.glob("*.bmp"))
    status = first.stat()
    random_image(77).save(first)
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert first.stat().st_size == status.st_size
    with pytest.raises(InputError, match=rf"\(1 replaced: '{first.name}'\)"):
        build_collection(tmp_path / "c", sources, workers=0)


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


@pytest.mark.parametrize("workers", [0, 1])
def test_files_with_another_time_and_the_same_bytes_are_the_same_files(
    make_folder: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    folder, sources = make_folder("crawl", range(4)), [SourceInput(tmp_path / "crawl")]
    (folder / "damaged.png").write_bytes(b"no image")
    built = build_collection(tmp_path / "c", sources, workers=workers)
    files = sorted(folder.glob("*.png"))
    for path in files:
        touch(path)
    assert build_collection(tmp_path / "c", sources, workers=workers) == built
    assert add_to_collection(tmp_path / "c", sources, workers=workers) == built
    # The same size and another byte: only the content tells.
    content = bytearray(files[1].read_bytes())
    content[-20] ^= 1
    files[1].write_bytes(content)
    touch(files[1])
    with pytest.raises(InputError, match=rf"\(1 replaced: '{files[1].name}'\)"):
        build_collection(tmp_path / "c", sources, workers=workers)


def test_a_collection_that_kept_no_contents_refuses_a_touched_file(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, sources = make_folder("crawl", range(2)), [SourceInput(tmp_path / "crawl")]
    build_collection(tmp_path / "c", sources, workers=0)
    touch(next(folder.glob("*.png")))
    kept = next((tmp_path / "c" / "states").glob("*.contents.jsonl"))
    kept.write_bytes(b'["half\n' + b"[" * 5000 + b"\n")
    with pytest.raises(InputError, match="1 replaced"):
        build_collection(tmp_path / "c", sources, workers=0)
    kept.unlink()
    with pytest.raises(InputError, match="1 replaced"):
        build_collection(tmp_path / "c", sources, workers=0)


def test_a_build_that_was_stopped_goes_on_with_touched_files_and_those_it_had_not_come_to(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sources = make_folder("crawl", range(6)), [SourceInput(tmp_path / "crawl")]
    monkeypatch.setattr("imgaudit.index.image_folders.PART", 2)
    monkeypatch.setattr("imgaudit.index.image_folders.TASK", 2)

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_collection(tmp_path / "c", sources, BuildOptions(shard_vectors=2), workers=0, on_progress=stop)
    files = sorted(folder.glob("*.png"))
    touch(files[0])
    random_image(77).save(files[-1])
    assert build_collection(tmp_path / "c", sources, BuildOptions(shard_vectors=2), workers=0).count == 6
    touch(files[-1])
    assert build_collection(tmp_path / "c", sources, BuildOptions(shard_vectors=2), workers=0).count == 6


def test_vectors_with_another_time_and_the_same_bytes_are_the_same_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(5))
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\ne\n")
    sources = pair_id_lists([tmp_path / "v.npy"], [tmp_path / "ids.txt"])
    built = build_collection(tmp_path / "c", sources, GIVEN)
    touch(tmp_path / "v.npy")
    touch(tmp_path / "ids.txt")
    assert build_collection(tmp_path / "c", sources, GIVEN) == built
    (tmp_path / "ids.txt").write_text("a\nb\nc\ne\nd\n")
    with pytest.raises(InputError, match=r"changed since the collection got it \(digest\)"):
        build_collection(tmp_path / "c", sources, GIVEN)


def test_a_collection_without_states_still_goes_by_names(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder, sources = make_folder("crawl", range(2)), [SourceInput(tmp_path / "crawl")]
    manifest = build_collection(tmp_path / "c", sources, workers=0)
    older = [source.model_copy(update={"state": ""}) for source in manifest.sources]
    write_manifest(tmp_path / "c", manifest.model_copy(update={"sources": tuple(older)}))
    random_image(77).save(next(folder.glob("*.png")))
    assert build_collection(tmp_path / "c", sources, workers=0).count == 2
