"""A shard from elsewhere: whatever it should not hold keeps it from being merged, and is named."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.shards.reading import read_part
from tests.support.shards import ShardedAudit, sharded

__all__ = ["sharded"]


def listed_again(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """A change by somebody who also writes evidence.json again."""

    def changed(run: Path) -> None:
        change(run)
        write_evidence(RunFolder(run))

    return changed


def claim(run: Path) -> None:
    """Call the shard by another number."""
    manifest = read_json(run / "manifest.json")
    write_json(run / "manifest.json", manifest | {"shard": {"number": 1, "count": 3}})


def drop_record(run: Path) -> None:
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[:-1]))


def skip(run: Path) -> None:
    RunFolder(run).append_record({"stage": "skipped", "path": "/somewhere/else.png", "skipped": "why"})


def first_folder(run: Path) -> Path:
    return sorted((run / "images").iterdir())[0]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda run: (run / "manifest.json").unlink(), "is not a shard of an audit: it has no manifest"),
    "not finished": (lambda run: (run / "evidence.json").unlink(), "shard 2 of 3 in .* is not finished"),
    "edited records": (skip, r"'records\.jsonl' is not the file that evidence\.json names"),
    "edited in place": (
        lambda run: (run / "records.jsonl").write_bytes((run / "records.jsonl").read_bytes().replace(b"2", b"3", 1)),
        r"'records\.jsonl' was changed",
    ),
    "a file more": (lambda run: (run / "more.txt").write_text("x"), r"'more\.txt' was added"),
    "a file more, listed": (listed_again(lambda run: (run / "more.txt").write_text("x")), r"'more\.txt' is no file of"),
    "a page, listed": (
        listed_again(lambda run: (run / "report" / "index.html").write_text("x")),
        r"'report/index\.html' is no file of shard 2",
    ),
    "another's image, listed": (
        listed_again(lambda run: first_folder(run).rename(run / "images" / ("0" * 16))), "is no file of shard 2 of 3",
    ),
    "another number, listed": (listed_again(claim), "is no file of shard 1 of 3"),
    "a record less, listed": (listed_again(drop_record), r"1 images have no record .*give the shard's command again"),
    "a stranger skipped, listed": (listed_again(skip), r"skips '/somewhere/else\.png', which is no image of"),
    "a picture less, listed": (
        listed_again(lambda run: (first_folder(run) / "rendered.png").unlink()), "pictures of .* are missing",
    ),
    "a FIFO": (lambda run: os.mkfifo(run / "images" / "pipe"), "is a FIFO"),
    "a link": (lambda run: (run / "report" / "link").symlink_to("/etc/passwd"), "is a link"),
    "edited evidence": (
        lambda run: write_json(run / "evidence.json", read_json(run / "evidence.json") | {"head": "0" * 64}),
        "its head is not the last link",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_shard_that_is_not_as_it_was_finished_is_refused(sharded: ShardedAudit, tmp_path: Path, name: str) -> None:
    run, (damage, message) = sharded.copy(tmp_path)[1], DAMAGE[name]
    damage(run)
    with pytest.raises(RunFolderError, match=message):
        read_part(run)


def test_a_whole_run_and_a_folder_of_files_are_no_shards(sharded: ShardedAudit, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is a whole audit, and no shard of one"):
        read_part(sharded.folder / "whole")
    with pytest.raises(RunFolderError, match="is not a shard of an audit"):
        read_part(tmp_path)


def test_a_cut_line_counts_for_nothing(sharded: ShardedAudit, tmp_path: Path) -> None:
    run = sharded.copy(tmp_path)[1]
    with (run / "records.jsonl").open("ab") as file:
        file.write(b'{"stage": "measured", "id": "')
    write_evidence(RunFolder(run))
    part = read_part(run)
    assert len(part.places) == 2 and len(part.skipped) == 1
    for sha256 in part.places:
        assert json.loads(part.read_line(sha256))["sha256"] == sha256
