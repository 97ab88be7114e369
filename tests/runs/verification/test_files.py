"""Every change of a run's files is found, and lines that were added to files that grow are counted."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from imgaudit.exceptions import VerificationError
from imgaudit.io.writing import append_lines, read_json, write_json
from imgaudit.runs.evidence import read_evidence, write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import list_run
from imgaudit.runs.verification import verify_run
from imgaudit.runs.verification.files import check_files
from imgaudit.schema.verification import Check


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    write_json(run.manifest_path, {"a": 1})
    for name in ("images/x.png", "images/y.png", "report/index.html"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text(name)
    append_lines(run.path / "history.jsonl", [{"a": 1}])
    write_evidence(run)
    return run


def check(run: RunFolder, head: str = "") -> Check:
    return check_files(run, list_run(run.path), read_evidence(run), head)


def write_first_format(run: RunFolder) -> None:
    """Write evidence.json as earlier versions did."""
    chain, files = "", []
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path)
        if path.is_file() and name.parts[0] not in {"report", "review", "evidence.json"} and name.name[0] != ".":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            chain = hashlib.sha256(f"{chain}{name.as_posix()}{digest}".encode()).hexdigest()
            files.append({"path": name.as_posix(), "sha256": digest, "chain": chain})
    write_json(run.path / "evidence.json", {"files": files, "head": chain})


def test_a_page_that_was_rewritten_is_found(run: RunFolder) -> None:
    assert check(run).problems == ()
    (run.path / "report" / "index.html").write_text("Replicated from text")
    [problem] = check(run).problems
    assert problem.startswith("'report/index.html' was changed")


def test_a_hidden_file_and_a_new_page_are_found(run: RunFolder) -> None:
    (run.path / "report" / "more.html").write_text("x")
    (run.path / "images" / ".hidden").write_text("x")
    (run.path / "attestations").mkdir()
    (run.path / "attestations" / "signature.json").write_text("x")
    problems = check(run).problems
    assert [problem.split(" was added")[0] for problem in problems] == ["'images/.hidden'", "'report/more.html'"]


def test_lines_may_be_added_to_files_that_grow_and_nothing_else(run: RunFolder) -> None:
    history = run.path / "history.jsonl"
    append_lines(history, [{"a": 2}, {"a": 3}])
    (run.path / "review").mkdir()
    append_lines(run.path / "review" / "decisions.jsonl", [{"b": 1}])
    found = check(run)
    assert found.problems == () and found.done.endswith("; 3 lines were added after evidence.json was written")
    whole = history.read_bytes()
    history.write_bytes(whole.replace(b'"a": 1', b'"a": 9'))
    assert "history.jsonl' was changed: lines may only be added" in check(run).problems[0]
    history.write_bytes(whole[:10])
    assert "history.jsonl' was changed" in check(run).problems[0]
    history.unlink()
    assert check(run).problems == ("'history.jsonl' is missing",)


def test_both_heads_can_be_compared_and_without_one_the_limit_is_said(run: RunFolder) -> None:
    listed = read_json(run.path / "evidence.json")
    assert "noted elsewhere" in check(run).not_done[0]
    for head in (listed["head"], listed["complete_head"].upper()[:12]):
        assert check(run, head).problems == () and check(run, head).not_done == ()
    assert "this is another run" in check(run, "0" * 12).problems[0]


def test_a_list_of_an_earlier_version_is_compared_by_its_rule_and_says_what_it_leaves_out(run: RunFolder) -> None:
    write_first_format(run)
    (run.path / "report" / "index.html").write_text("other")
    found = check(run)
    assert found.problems == () and any("report/, review/" in one for one in found.not_done)
    (run.path / "images" / "x.png").write_text("other")
    (run.path / "images" / "z.png").write_text("new")
    (run.path / "images" / "y.png").unlink()
    assert [one.split(" ")[0] for one in check(run).problems] == ["'images/x.png'", "'images/y.png'", "'images/z.png'"]


def test_merged_entries_of_the_earlier_chain_are_found(run: RunFolder) -> None:
    write_first_format(run)
    content = read_json(run.path / "evidence.json")
    [first, second, *rest] = content["files"]
    merged = {"path": first["path"] + first["sha256"] + second["path"], **{key: second[key] for key in ("sha256",)}}
    # The text without lengths: the digest of the first entry stands in the second one's path.
    chain = hashlib.sha256(f"{merged['path']}{merged['sha256']}".encode()).hexdigest()
    write_json(run.path / "evidence.json", {"files": [merged | {"chain": chain}, *rest], "head": content["head"]})
    assert check(run).problems


@pytest.mark.parametrize("make", ["link", "folder link", "fifo"])
def test_links_and_pipes_are_refused_before_anything_is_opened(run: RunFolder, make: str, tmp_path: Path) -> None:
    place = run.path / "images" / "planted"
    if make == "fifo":
        os.mkfifo(place)
    else:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(run.path / "images" / "x.png" if make == "link" else tmp_path / "elsewhere")
    with pytest.raises(VerificationError, match=f"'images/planted' is a {'FIFO' if make == 'fifo' else 'link'}"):
        verify_run(run)


def test_an_image_folder_replaced_by_a_link_is_refused(run: RunFolder, tmp_path: Path) -> None:
    (run.path / "images").rename(tmp_path / "moved")
    (run.path / "images").symlink_to(tmp_path / "moved")
    with pytest.raises(VerificationError, match="'images' is a link"):
        verify_run(run)


def test_json_is_stable(run: RunFolder) -> None:
    before = (run.path / "evidence.json").read_bytes()
    write_evidence(run)
    assert (run.path / "evidence.json").read_bytes() == before and json.loads(before)["format"] == 2
