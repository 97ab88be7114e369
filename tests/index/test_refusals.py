"""A collection whose files are damaged, exchanged or edited is refused, and says what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from imgaudit.exceptions import IndexRefusedError
from imgaudit.index import Collection, add_to_collection, pair_id_lists
from imgaudit.index.id_table import HEADER_BYTES, IdTableWriter
from imgaudit.index.manifest import _checksum, digest_file
from imgaudit.index.names import Name, Names
from tests.support.vectors import collection_of, unit_vectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return collection_of(tmp_path, unit_vectors(40), shard_vectors=20).folder


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    # A new file, as a copy would be: the old one may still be mapped.
    path.unlink()
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    data = path.read_bytes()[:size]
    path.unlink()
    path.write_bytes(data)


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, signed: bool) -> None:
    """Change the manifest; signed as whoever knows the format would."""
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    check = values.pop("check")
    change(values)
    path.write_text(json.dumps(values | {"check": _checksum(values) if signed else check}))


def swap_shards(folder: Path) -> None:
    shards = folder / "shards"
    (shards / "000000").rename(shards / "x")
    (shards / "000001").rename(shards / "000000")
    (shards / "x").rename(shards / "000001")


def link_away(folder: Path) -> None:
    index = folder / "shards/000000/index.faiss"
    shutil.copy(index, folder.parent / "elsewhere")
    index.unlink()
    index.symlink_to(folder.parent / "elsewhere")


INDEX, IDS = "shards/000000/index.faiss", "shards/000001/ids.bin"

DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "index cut": (lambda f: cut(f / INDEX, 500), "has 500 bytes, but 1,325 were written"),
    "index empty": (lambda f: cut(f / INDEX, 0), "has 0 bytes"),
    "index byte": (lambda f: flip(f / INDEX, 700), "SHA-256 differs"),
    "index gone": (lambda f: (f / INDEX).unlink(), "missing or not a regular file"),
    "index a link": (link_away, "missing or not a regular file"),
    "names cut": (lambda f: cut(f / IDS, 100), "has 100 bytes"),
    "names byte": (lambda f: flip(f / IDS, HEADER_BYTES + 3), "SHA-256 differs"),
    "names gone": (lambda f: (f / IDS).unlink(), "missing or not a regular file"),
    "shards swapped": (swap_shards, "damaged or exchanged"),
    "shard gone": (lambda f: shutil.rmtree(f / "shards/000001"), "missing or not a regular file"),
    "manifest gone": (lambda f: (f / "manifest.json").unlink(), "has no manifest.json"),
    "manifest cut": (lambda f: cut(f / "manifest.json", 300), "cannot be read"),
    "manifest a list": (lambda f: (f / "manifest.json").write_text("[]"), "cannot be read"),
    "manifest nested": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "cannot be read"),
    "manifest edited": (
        lambda f: edit(f, lambda v: v["shards"][0].update(count=21), signed=False),
        "was changed after it was written",
    ),
    "count edited": (lambda f: edit(f, lambda v: v["shards"][0].update(count=19), signed=True), "has 20 rows"),
    "shard twice": (lambda f: edit(f, lambda v: v["shards"].append(v["shards"][0]), signed=True), "a shard twice"),
    "shard elsewhere": (
        lambda f: edit(f, lambda v: v["shards"][0].update(name="../../x"), signed=True), "wrong: shards.0.name",
    ),
    "skips elsewhere": (
        lambda f: edit(
            f, lambda v: v.update(skipped=[{"name": "../../etc/passwd", "count": 1, "file": v["shards"][0]["ids"]}]),
            signed=True,
        ),
        "wrong: skipped.0.name",
    ),
    "dimension edited": (
        lambda f: edit(f, lambda v: v["descriptor"].update(dimension=8), signed=True), "20 vectors of 16, but",
    ),
    "bits instead": (lambda f: edit(f, lambda v: v["descriptor"].update(binary=True), signed=True), "FAISS cannot"),
    "kind edited": (lambda f: edit(f, lambda v: v["shards"][0].update(kind="hnsw"), signed=True), "IndexFlatIP"),
    "later format": (lambda f: edit(f, lambda v: v.update(format=4), signed=True), "has format 4"),
    "nothing in it": (lambda f: edit(f, lambda v: v.update(shards=[]), signed=True), "is empty: none of its"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_with_its_reason(folder: Path, name: str) -> None:
    spoil, reason = DAMAGE[name]
    Collection.open(folder)
    spoil(folder)
    with pytest.raises(IndexRefusedError, match=reason):
        Collection.open(folder)


def test_without_verifying_sizes_and_heads_are_still_compared(folder: Path) -> None:
    for name in ("index cut", "index gone", "names cut"):
        copy = Path(shutil.copytree(folder, folder.parent / name))
        DAMAGE[name][0](copy)
        with pytest.raises(IndexRefusedError):
            Collection.open(copy, verify=False)


def exchange_index(folder: Path, index: Any) -> None:
    """Another index under a manifest that knows its digest: what a stranger's collection can hold."""
    path = folder / INDEX
    path.unlink()
    faiss.write_index(index, str(path))
    digest = digest_file(path).model_dump()
    edit(folder, lambda values: values["shards"][0].update(index=digest), signed=True)


def test_an_index_of_other_vectors_is_refused_whatever_the_digests_say(folder: Path) -> None:
    other = faiss.IndexFlatIP(16)
    other.add(unit_vectors(30))  # type: ignore[call-arg]
    exchange_index(folder, other)
    with pytest.raises(IndexRefusedError, match="holds 30 vectors of 16, but its manifest speaks of 20"):
        Collection.open(folder)


def test_an_index_that_compares_otherwise_is_refused_whatever_the_digests_say(folder: Path) -> None:
    other = faiss.IndexFlatL2(16)
    other.add(unit_vectors(20))  # type: ignore[call-arg]
    exchange_index(folder, other)
    with pytest.raises(IndexRefusedError, match="holds a IndexFlat"):
        Collection.open(folder)


def test_a_collection_of_the_first_format_is_read_and_added_to(folder: Path, tmp_path: Path) -> None:
    def back(values: dict[str, Any]) -> None:
        values["format"] = 1
        for source in values["sources"]:
            del source["others"]

    edit(folder, back, signed=True)
    before = Collection.open(folder)
    np.save(tmp_path / "more.npy", unit_vectors(5, seed=7))
    added = add_to_collection(folder, pair_id_lists([tmp_path / "more.npy"]))
    assert (len(before), added.count) == (40, 45)
    assert json.loads((folder / "manifest.json").read_text())["format"] == 3


def exchange_names(folder: Path, names: list[Name]) -> None:
    path = folder / IDS
    path.unlink()
    writer = IdTableWriter(path)
    writer.append(Names.of(names))
    writer.close()
    digest = digest_file(path).model_dump()
    edit(folder, lambda values: values["shards"][1].update(ids=digest), signed=True)


@pytest.mark.parametrize("name", [Name("a/../../b", ""), Name("a", "/x/../etc"), Name("a", "x\\..\\y")])
def test_names_that_lead_out_of_their_folder_are_refused(folder: Path, name: Name) -> None:
    exchange_names(folder, [name] * 20)
    collection = Collection.open(folder)
    with pytest.raises(IndexRefusedError, match=r"contains '\.\.' as a folder"):
        collection.search(unit_vectors(40)[30:31], 1)
