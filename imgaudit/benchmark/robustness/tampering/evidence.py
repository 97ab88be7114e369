"""Edits of evidence.json and of the run's history."""

from typing import Any

from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun
from imgaudit.io.reading import hash_file

NAME = "evidence.json"

ALONE = (Attacker.LEAVES,)
"""Whoever writes evidence.json again undoes such an edit."""


def _merge_entries(run: EditedRun) -> None:
    """Make one entry of two, such that their texts joined are the same: a chain without lengths would not change."""

    def change(evidence: Any) -> None:
        first, second = evidence["files"][:2]
        merged = {**second, "path": first["path"] + first["sha256"] + second["path"]}
        evidence["files"][:2] = [merged]

    run.change(NAME, change)


def _drop_entry(run: EditedRun) -> None:
    run.change(NAME, lambda evidence: evidence["files"].pop(3))


def _drop_page_entries(run: EditedRun) -> None:
    run.change(NAME, lambda evidence: evidence.update(pages=[]))


def _exchange_entries(run: EditedRun) -> None:
    run.change(NAME, lambda evidence: evidence["files"].insert(0, evidence["files"].pop(1)))


def _digest(run: EditedRun) -> None:
    """Edit a file and its digest, and leave the chain."""
    result = run.read("report.json")
    result["findings"][0]["verdict"] = "partial"
    run.write("report.json", result)

    def change(evidence: Any) -> None:

        entry = next(file for file in evidence["files"] if file["path"] == "report.json")
        entry.update(sha256=hash_file(run.path / "report.json"), bytes=(run.path / "report.json").stat().st_size)

    run.change(NAME, change)


def _head(run: EditedRun) -> None:
    run.change(NAME, lambda evidence: evidence.update(head="0" * 64))


def _delete(run: EditedRun) -> None:
    (run.path / NAME).unlink()
    run.name(NAME)


def _cut(run: EditedRun) -> None:
    path = run.path / NAME
    path.write_bytes(path.read_bytes()[:-200])
    run.name(NAME)


def _history(run: EditedRun) -> str:
    """Return the file that holds the commands of the run."""
    found = [name for name in ("history.jsonl", "continued.jsonl") if (run.path / name).is_file()]
    if not found:
        raise RuntimeError("the run has no history")
    return found[0]


def _shorten_history(run: EditedRun) -> None:
    name = _history(run)
    run.write_lines(run.lines(name)[1:], name)


def _edit_history(run: EditedRun) -> None:
    name = _history(run)
    lines = run.lines(name)
    run.write_lines([{**lines[0], "time": "2020-01-01T00:00:00+00:00"}, *lines[1:]], name)


def _delete_history(run: EditedRun) -> None:
    name = _history(run)
    (run.path / name).unlink()
    run.name(name)


def _add_file(run: EditedRun) -> None:
    (run.path / "notes.txt").write_text("added\n", encoding="utf-8")
    run.name("notes.txt")


EDITS = (
    Edit("evidence: two entries merged into one", _merge_entries, ALONE),
    Edit("evidence: an entry removed", _drop_entry, ALONE),
    Edit("evidence: the entries of all pages removed", _drop_page_entries, ALONE),
    Edit("evidence: two entries exchanged", _exchange_entries, ALONE),
    Edit("evidence: a digest, not the chain", _digest, ALONE),
    Edit("evidence: the head", _head, ALONE),
    Edit("evidence: deleted", _delete, ALONE),
    Edit("evidence: cut", _cut, ALONE),
    Edit("history: the first line removed", _shorten_history),
    Edit("history: a time edited", _edit_history),
    Edit("history: deleted", _delete_history),
    # A list that names the file again agrees with the folder, and nothing reads the file.
    Edit("a file added to the run", _add_file, ALONE, (Attacker.LISTS,)),
)
"""Edits of the evidence."""
