"""An edit of a finished run, the copy that it is made on, and how far the attacker goes to hide it."""

import enum
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgaudit.io.writing import append_lines, write_json
from imgaudit.report.finishing import finish_run
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder

Json = dict[str, Any]


class Attacker(enum.StrEnum):
    """The lengths to which somebody goes who edits a run."""

    LEAVES = "evidence left"
    """Edits a file, with the checksum of the line, and leaves evidence.json as it is."""
    LISTS = "evidence made again"
    """Writes evidence.json again too, with this program's own function."""
    DECIDES = "all made again"
    """Decides the edited run again, writes its pages again, and then evidence.json: what `imgaudit report` does."""


class EditedRun:
    """A copy of a finished run that is edited, with another run that parts can be taken from."""

    def __init__(self, path: Path, other: Path) -> None:
        self.path = path
        self.other = other
        self.named: list[str] = []
        """Texts of which a message about the edit must hold one, such as the name of the file."""

    def name(self, *texts: str) -> None:
        """Note what a message about the edit has to name."""
        self.named += texts

    def read(self, name: str) -> Any:
        """Return the content of a JSON file of the run, and note its name."""
        self.name(name)
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file as the program writes it."""
        write_json(self.path / name, value)

    def change(self, name: str, change: Callable[[Any], None]) -> None:
        """Change the content of a JSON file."""
        value = self.read(name)
        change(value)
        self.write(name, value)

    def replace_text(self, name: str, before: str, after: str) -> None:
        """Replace a text in a file. Raises RuntimeError when it is not there: nothing would be edited."""
        self.name(name)
        text = (self.path / name).read_text(encoding="utf-8")
        if before not in text:
            raise RuntimeError(f"{name} does not hold {before!r}")
        (self.path / name).write_text(text.replace(before, after), encoding="utf-8")

    def lines(self, name: str = "records.jsonl") -> list[Json]:
        """Return the lines of a file without their checksums, and note its name."""
        self.name(name)
        lines = (self.path / name).read_text(encoding="utf-8").splitlines()
        return [{key: value for key, value in json.loads(line).items() if key != "check"} for line in lines]

    def write_lines(self, lines: list[Json], name: str = "records.jsonl") -> None:
        """Write the lines of a file again, each with its checksum."""
        (self.path / name).unlink()
        append_lines(self.path / name, lines)
        (self.path / name).touch()

    def change_record(self, place: int, change: Callable[[Json], None]) -> None:
        """Change the record of one image, counted from 0, and note its id."""
        lines = self.lines()
        measured = [line for line in lines if line["stage"] == "measured"]
        self.name(measured[place]["id"])
        change(measured[place])
        self.write_lines(lines)

    def verdicts(self, verdict: str) -> list[str]:
        """Return the ids of images with a verdict. Raises RuntimeError when there is none."""
        findings = json.loads((self.path / "report.json").read_text(encoding="utf-8"))["findings"]
        found = [finding["id"] for finding in findings if finding["verdict"] == verdict]
        if not found:
            raise RuntimeError(f"the run has no image with the verdict {verdict}")
        return found

    def hide(self, attacker: Attacker) -> None:
        """Do what an attacker does after the edit. Raises ImgauditError where the program refuses to."""
        run = RunFolder(self.path)
        if attacker is Attacker.DECIDES:
            if "manifest.json" in self.named:
                # Decisions name the run by the digest of its manifest, and would give the edit away.
                shutil.rmtree(self.path / "review", ignore_errors=True)
                self.name("history.jsonl")
            finish_run(run, conclude(run))
        elif attacker is Attacker.LISTS:
            write_evidence(run)


@dataclass(frozen=True)
class Edit:
    """One kind of edit."""

    kind: str
    """What is edited, in words."""
    make: Callable[[EditedRun], None]
    """Makes the edit, and notes what a message has to name."""
    attackers: tuple[Attacker, ...] = (Attacker.LEAVES, Attacker.LISTS)
    """Attackers who make it, and whom the run alone must give away."""
    by_head: tuple[Attacker, ...] = ()
    """Attackers who leave a run that agrees in itself: only a head that was noted before gives them away."""
