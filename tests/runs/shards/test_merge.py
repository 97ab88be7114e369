"""Shards merged are the undivided run; a merge that is stopped leaves nothing half-done and is given again."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgaudit.api import measure_shard, merge, seal
from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json, write_json
from imgaudit.report.complaint.package import make_package
from imgaudit.report.counsel.document import render_counsel
from imgaudit.runs.evidence import read_evidence, write_evidence
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.runs.reference import read_reference
from imgaudit.runs.seal import check_seal
from imgaudit.runs.verification.run import verify_run
from imgaudit.schema.findings import AuditResult
from tests.support.shards import IMAGES, ShardedAudit, sharded

__all__ = ["sharded"]


class Stopped(Exception):
    pass


def stop_at(stage: str, wanted: int) -> Callable[[str, int, int], None]:
    def on_progress(name: str, done: int, total: int) -> None:
        if (name, done) == (stage, wanted):
            raise Stopped

    return on_progress


def comparable(result: AuditResult) -> Any:
    content = result.model_dump(mode="json", exclude={"run"})
    content["summary"].pop("seconds")
    content["summary"].get("model_checks", {}).pop("seconds", None)
    for one in content["findings"]:
        one.pop("seconds")
    return content


def test_the_merged_run_is_the_undivided_one(sharded: ShardedAudit, tmp_path: Path) -> None:
    parts = [sharded.folder / name for name in ("3", "1", "2")]
    before = {path: path.stat().st_mtime_ns for part in parts for path in part.rglob("*")}
    result = merge(parts, out=tmp_path / "run")
    whole = read_finished_run(sharded.folder / "whole")
    assert comparable(result) == comparable(whole.result) and len(result.findings) == IMAGES + 1
    run = RunFolder(tmp_path / "run")
    assert not [problem for check in verify_run(run).checks for problem in check.problems]
    manifest = read_finished_run(run.path).manifest
    assert manifest.shard is None and [one.shard.number for one in manifest.merged] == [1, 2, 3]
    heads = [read_evidence(RunFolder(sharded.folder / name)).head for name in ("1", "2", "3")]
    assert [one.head for one in manifest.merged] == heads
    assert all(one.commands[0][0] == "imgaudit.measure_shard" for one in manifest.merged)
    assert before == {path: path.stat().st_mtime_ns for part in parts for path in part.rglob("*")}
    notes: list[str] = []
    again = merge(parts, out=tmp_path / "run", on_note=notes.append)
    assert comparable(again) == comparable(result) and notes == ["nothing to do: these shards are merged already"]


@pytest.mark.parametrize("stage, done", [("copying files", 0), ("copying files", 9)])
def test_a_stopped_merge_leaves_no_run_and_is_given_again(
    sharded: ShardedAudit, tmp_path: Path, stage: str, done: int
) -> None:
    parts = [sharded.folder / name for name in ("1", "2", "3")]
    with pytest.raises(Stopped):
        merge(parts, out=tmp_path / "run", on_progress=stop_at(stage, done))
    assert not (tmp_path / "run").exists()
    left = tmp_path / "run.merging"
    copied = {path: path.stat().st_ino for path in left.rglob("*.png")}
    (left / "records.jsonl").write_text("half a line")
    (left / ".manifest.json.0123456789abcdef.partial").write_text("{")
    (left / ".lock-holder").write_text("a process that was killed")
    if copied:
        # What a disk lost is copied again.
        next(iter(copied)).write_bytes(b"")
    result = merge(parts, out=tmp_path / "run")
    assert comparable(result) == comparable(read_finished_run(sharded.folder / "whole").result)
    kept = [
        path for path, inode in copied.items() if (tmp_path / "run" / path.relative_to(left)).stat().st_ino == inode
    ]
    assert len(kept) == max(0, len(copied) - 1) and not left.exists()
    assert not [problem for check in verify_run(RunFolder(tmp_path / "run")).checks for problem in check.problems]


def test_a_place_that_is_taken_is_refused(sharded: ShardedAudit, tmp_path: Path) -> None:
    parts = [sharded.folder / name for name in ("1", "2", "3")]
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("kept")
    with pytest.raises(RunFolderError, match="exists already, and is not the run merged from these shards"):
        merge(parts, out=taken)
    (tmp_path / "run.merging").mkdir()
    (tmp_path / "run.merging" / "mine.txt").write_text("kept")
    with pytest.raises(RunFolderError, match=r"'mine\.txt', which no merge left there"):
        merge(parts, out=tmp_path / "run")
    assert (taken / "mine.txt").read_text() == (tmp_path / "run.merging" / "mine.txt").read_text() == "kept"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match="exists already"):
        merge(parts, out=tmp_path / "link")


@pytest.mark.parametrize("change", ["content", "link", "removed"])
def test_a_picture_that_is_not_the_shards_own_stops_the_merge(
    sharded: ShardedAudit, tmp_path: Path, change: str
) -> None:
    parts = sharded.copy(tmp_path)
    picture = sorted((parts[1] / "images").rglob("target.png"))[0]
    data = picture.read_bytes()
    picture.unlink()
    secret = tmp_path / "secret.png"
    secret.write_bytes(data)
    if change == "content":
        picture.write_bytes(data[:-1] + b"x")
    elif change == "link":
        picture.symlink_to(secret)
    with pytest.raises(RunFolderError, match=r"target\.png"):
        merge(parts, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_ran_elsewhere_is_said(sharded: ShardedAudit, tmp_path: Path) -> None:
    parts = sharded.copy(tmp_path)
    sharded.measure("2/3", tmp_path / "other", batch_size=4)
    notes: list[str] = []
    merge([parts[0], tmp_path / "other", parts[2]], out=tmp_path / "run", on_note=notes.append)
    assert notes == ["note: shard 2 of 3 was measured with other conditions than shard 1 of 3: batch size 4"]


def test_the_history_names_the_merge(sharded: ShardedAudit, tmp_path: Path) -> None:
    parts = [sharded.folder / name for name in ("1", "2", "3")]
    merge(parts, out=tmp_path / "run", command=["imgaudit", "merge", os.fsdecode(b"\xff")])
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["start", "end"] and lines[0]["work"] == "merge"
    assert lines[1]["changes"]["shards"] == 3 and lines[1]["changes"]["images_measured"] == IMAGES


def test_pages_name_every_shard_and_files_for_others_name_no_folder(sharded: ShardedAudit, tmp_path: Path) -> None:
    parts = sharded.copy(tmp_path)
    manifest = read_json(parts[1] / "manifest.json")
    write_json(parts[1] / "manifest.json", manifest | {"operator": "Ann"})
    (parts[1] / "history.jsonl").unlink()
    with Invocation(RunFolder(parts[1]), "audit", ["imgaudit", "audit", "/home/ann/art", "--shard", "2/3"]) as one:
        one.start(decides=True)
    write_evidence(RunFolder(parts[1]))
    merge(parts, out=tmp_path / "run")
    finished = read_finished_run(tmp_path / "run")
    finding = next(one for one in finished.result.findings if one.sha256)
    page = (tmp_path / "run" / "report" / f"{finding.id}.html").read_text("utf-8")
    assert "Merged from" in page and "shard 2 of 3, begun" in page and "by Ann" in page and "/home/ann/art" in page
    counsel = render_counsel(finished, [])
    assert "Shard 2 of 3, begun" in counsel and "merged from its shards" in counsel and "/home/ann" not in counsel
    assert "/home/ann" not in make_package(finished, finding)["manifest.json"].decode("utf-8")


def test_shards_of_a_sealed_audit_keep_to_the_seal(sharded: ShardedAudit, tmp_path: Path) -> None:
    made = seal(sharded.model, sharded.portfolio, output=tmp_path / "seal.json", config=sharded.config)
    parts = [tmp_path / name for name in ("1", "2", "3")]
    for number, part in enumerate(parts, 1):
        measure_shard(sharded.model, sharded.portfolio, f"{number}/3", out=part, seal=made)
    merge(parts, out=tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert run.seal_path.read_bytes() == made.data and check_seal(run).problems == ()
    with pytest.raises(RunFolderError, match="another seal, or only one of the two has one"):
        merge([parts[0], parts[1], sharded.folder / "3"], out=tmp_path / "other")


def test_what_a_collection_holds_is_put_together(sharded: ShardedAudit, tmp_path: Path) -> None:
    parts = sharded.copy(tmp_path)
    whole = {
        "collection": "crawl", "manifest_sha256": "0" * 64, "vectors": 9, "descriptor": "pdq", "source": "here",
        "bound": 0.9, "bound_source": "convention", "recall": "exact", "remark": "", "controls": 0,
    }  # fmt: skip

    def look_up(part: Path, **changes: object) -> None:
        names = [one.name for one in (part / "images").iterdir()]
        write_json(
            part / "reference.json", whole | changes | {"images": {}, "skipped": dict.fromkeys(names, "damaged")}
        )
        write_evidence(RunFolder(part))

    for part in parts:
        look_up(part)
    merge(parts, out=tmp_path / "run")
    reference = read_reference(RunFolder(tmp_path / "run"))
    assert reference is not None and len(reference.skipped) == IMAGES and reference.vectors == 9
    look_up(parts[2], vectors=10)
    with pytest.raises(RunFolderError, match="in the same collection, in the same state"):
        merge(parts, out=tmp_path / "other")
    assert not [*tmp_path.glob("other*")]
