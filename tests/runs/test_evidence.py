"""evidence.json covers every file of a run; its head is over what was measured and decided."""

import hashlib
import os
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import append_lines, read_json, write_json
from imgaudit.runs.evidence import EvidenceList, check_chain, read_evidence, write_evidence
from imgaudit.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    write_json(run.manifest_path, {"a": 1})
    for name in ("images/x.png", "report/index.html", ".hidden", "attestations/a.json"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("1")
    (run.path / ".lock").touch()
    append_lines(run.path / "history.jsonl", [{"a": 1}])
    return run


def listed(run: RunFolder) -> EvidenceList:
    write_evidence(run)
    found = read_evidence(run)
    assert isinstance(found, EvidenceList) and not list(check_chain(found))
    return found


def test_every_file_is_listed_but_locks_and_attestations(run: RunFolder) -> None:
    found = listed(run)
    assert [one.path for one in found.files] == [".hidden", "images/x.png", "manifest.json"]
    assert [one.path for one in found.pages] == ["report/index.html"]
    assert [one.path for one in found.growing] == ["history.jsonl"]
    assert listed(run) == found, "the list does not cover itself"


def test_the_head_changes_with_what_was_measured_and_the_complete_head_with_everything(run: RunFolder) -> None:
    first = listed(run)
    (run.path / "report" / "index.html").write_text("again")
    second = listed(run)
    assert second.head == first.head and second.complete_head != first.complete_head
    append_lines(run.path / "history.jsonl", [{"a": 2}])
    third = listed(run)
    assert third.head == first.head and third.complete_head not in {first.complete_head, second.complete_head}
    (run.path / "images" / "x.png").write_text("2")
    assert listed(run).head != first.head


def test_a_link_of_the_chain_is_as_described(run: RunFolder) -> None:
    found = listed(run)
    before = b"imgaudit evidence 2"
    for one in (*found.files, *found.pages, *found.growing):
        path = run.path / one.path
        fields = [before, one.path.encode(), hashlib.sha256(path.read_bytes()).digest(), len(path.read_bytes())]
        hashed = b"".join(
            (8).to_bytes(8, "big") + field.to_bytes(8, "big")
            if isinstance(field, int)
            else len(field).to_bytes(8, "big") + field
            for field in fields
        )
        before = hashlib.sha256(hashed).digest()
        assert one.chain == before.hex()
    assert found.complete_head == before.hex()


def test_links_and_pipes_are_no_evidence(run: RunFolder) -> None:
    (run.path / "images" / "other").symlink_to("/")
    os.mkfifo(run.path / "pipe")
    with pytest.raises(RunFolderError, match=r"'pipe' is a FIFO.*'images/other' is a link"):
        write_evidence(run)
    assert not (run.path / "evidence.json").exists()


def test_a_list_of_entries_in_the_wrong_part_is_found(run: RunFolder) -> None:
    write_evidence(run)
    found = listed(run)
    moved = found.model_copy(update={"pages": (), "growing": (*found.pages, *found.growing)})
    assert "where it does not belong" in next(check_chain(moved))
    assert read_json(run.path / "evidence.json")["format"] == 2
