"""evidence.json covers every file of a run; its head is over what was measured and decided."""

import hashlib
import json
import os
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import append_lines, format_json, read_json, write_json
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
    moved = replace(found, pages=(), growing=(*found.pages, *found.growing))
    assert "where it does not belong" in next(check_chain(moved))
    assert read_json(run.path / "evidence.json")["format"] == 2


def test_a_list_is_written_as_json_is_everywhere_and_read_whatever_its_form(run: RunFolder) -> None:
    found, path = listed(run), run.path / "evidence.json"
    entries = {
        section: [asdict(one) for one in files]
        for section, files in (("files", found.files), ("pages", found.pages), ("growing", found.growing))
    }
    content = {"format": 2, "files": entries["files"], "head": found.head, "pages": entries["pages"],
               "growing": entries["growing"], "complete_head": found.complete_head}  # fmt: skip
    assert path.read_text(encoding="utf-8") == format_json(content)
    for other in (json.dumps(content), json.dumps(content, sort_keys=True, indent=1)):
        path.write_text(other)
        assert read_evidence(run) == found
    (run.path / "history.jsonl").unlink()
    write_evidence(run)
    assert '"growing": [],\n' in path.read_text()
    for other in (json.dumps(content | {"more": 1}), json.dumps(content | {"files": 1}), json.dumps(content)[:-1],
                  json.dumps(content | {"files": [{"path": "x"}]})):  # fmt: skip
        path.write_text(other)
        with pytest.raises(RunFolderError, match=r"evidence.json' (is damaged|cannot be read)"):
            read_evidence(run)


def test_a_file_takes_little_memory_when_evidence_is_written_and_read(run: RunFolder) -> None:
    count = 2000
    for number in range(count):
        (run.path / "images" / f"{number:060d}.png").touch()
    tracemalloc.start()
    try:
        write_evidence(run)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert len(read_evidence(run).files) > count
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Beyond a buffer of 256 KiB as bytes and as text; objects of JSON take more than 1,000 bytes a file.
    assert written < 2**20 + 350 * count and read < 2**20 + 350 * count
