"""Shards of one audit are merged; missing, double and foreign ones are named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.shards.agreement import find_machine_notes, require_one_audit
from imgaudit.runs.shards.reading import read_part
from tests.support.shards import ShardedAudit, sharded

__all__ = ["sharded"]


def changed(sharded: ShardedAudit, place: Path, change: Callable[[dict[str, object]], None]) -> list[Path]:
    """Shards of which the second has another manifest."""
    runs = sharded.copy(place)
    manifest = read_json(runs[1] / "manifest.json")
    change(manifest)
    write_json(runs[1] / "manifest.json", manifest)
    write_evidence(RunFolder(runs[1]))
    return runs


def require(runs: list[Path]) -> None:
    require_one_audit([read_part(run) for run in runs])


def test_missing_and_double_shards_are_named(sharded: ShardedAudit, tmp_path: Path) -> None:
    runs = sharded.copy(tmp_path)
    require(runs)
    with pytest.raises(RunFolderError, match=r"1 of 3 shards are missing: 2\. No verdict is final without them"):
        require([runs[0], runs[2]])
    with pytest.raises(RunFolderError, match="2 of 3 shards are missing: 1, 3"):
        require([runs[1]])
    with pytest.raises(RunFolderError, match=r"shard 3 was given 2 times \(.*/3', .*/3'\): give it once"):
        require([*runs, runs[2]])


@pytest.mark.parametrize(
    "options, message",
    [({"seed": 7}, "seed 0, now 7"), ({"steps": 3}, "steps"), ({"chunk_size": 3}, "chunk size 3, there 2")],
)
def test_a_shard_of_another_audit_is_named(
    sharded: ShardedAudit, tmp_path: Path, options: dict[str, int], message: str
) -> None:
    runs = sharded.copy(tmp_path)
    sharded.measure("2/3", tmp_path / "other", **options)
    with pytest.raises(RunFolderError, match=f"shard 2 of 3 in .*/other' is not of the same audit as .*{message}"):
        require([runs[0], tmp_path / "other", runs[2]])


def test_another_number_of_shards_is_named(sharded: ShardedAudit, tmp_path: Path) -> None:
    runs = sharded.copy(tmp_path)
    sharded.measure("2/4", tmp_path / "other")
    with pytest.raises(RunFolderError, match="4 shards, there 3"):
        require([runs[0], tmp_path / "other"])


def test_a_null_bank_of_one_shard_alone_is_named(sharded: ShardedAudit, tmp_path: Path) -> None:
    runs = sharded.copy(tmp_path)
    (runs[2] / "calibration.json").write_text("{}")
    write_evidence(RunFolder(runs[2]))
    with pytest.raises(RunFolderError, match="another null bank, or only one of the two has one"):
        require(runs)


def rename(manifest: dict[str, object]) -> None:
    manifest["targets"] = [{**one, "path": f"/other{one['path']}"} for one in manifest["targets"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda manifest: manifest["versions"].update(imgaudit="9.9"), "imgaudit 9.9, there"),
        (lambda manifest: manifest["model"].update(dtype="float16"), "model dtype float16"),
        (lambda manifest: manifest["model"].update(fingerprint="0" * 64), "another model, by its fingerprint"),
        (lambda manifest: manifest.update(groups=[["a", "b"]]), "grouped as works in another way"),
        (lambda manifest: manifest.update(skipped=[{"path": "x", "skipped": "y"}]), "skips .*|other files could not"),
    ],
)
def test_what_differs_is_said(
    sharded: ShardedAudit, tmp_path: Path, change: Callable[[dict[str, object]], None], message: str
) -> None:
    with pytest.raises(RunFolderError, match=message):
        require(changed(sharded, tmp_path, change))


def test_machines_may_differ_and_are_noted(sharded: ShardedAudit, tmp_path: Path) -> None:
    runs = changed(sharded, tmp_path, lambda manifest: manifest.update(device="cuda:1", threads=9))
    parts = [read_part(run) for run in runs]
    require_one_audit(parts)
    [note] = find_machine_notes(parts)
    assert note == "shard 2 of 3 was measured with other conditions than shard 1 of 3: device cuda:1, threads 9"
