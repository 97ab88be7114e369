"""The audit that is attacked: a small portfolio with controls under the smallest protocol, and what it has to give."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from imgaudit.benchmark.robustness.processes import Ended
from imgaudit.benchmark.robustness.tally import Recorder
from imgaudit.models.loading import bundled_lab

SMALLEST = (
    "--device", "cpu", "--effort", "quick", "--framing", "pad", "--steps", "2", "--draws", "2", "--seeds", "2",
    "--num-inference-steps", "2", "--batch-size", "64",
)  # fmt: skip
"""A protocol whose stages all exist and none of which takes long; what it finds does not matter here."""

IMAGES, CONTROLS = 6, 4
"""Images of the portfolio and controls that are audited again and again."""


@dataclass
class Bench:
    """Where attacks take place."""

    model: str
    """Model that is audited: the demo, or any folder."""
    folder: Path
    """Everything is written below it."""
    random: Random
    """Source of every moment, size and place."""
    recorder: Recorder = field(default_factory=Recorder)
    """What was tried."""
    _numbers: int = 0

    def place(self, name: str) -> Path:
        """A new folder for one case."""
        self._numbers += 1
        path = self.folder / f"{self._numbers:04d}-{name}"
        path.mkdir(parents=True)
        return path

    def portfolio(self) -> tuple[Path, Path]:
        """Fresh copies of the portfolio and its controls, with captions."""
        lab, place = bundled_lab("demo"), self.place("portfolio")
        for source, count in (("portfolio", IMAGES), ("controls", CONTROLS)):
            lines = (lab / source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[:count]
            (place / source).mkdir()
            for line in lines:
                shutil.copy(lab / source / json.loads(line)["file_name"], place / source)
            (place / source / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return place / "portfolio", place / "controls"

    def compare(self, section: str, kind: str, found: Sequence[str], more: Sequence[str] = ()) -> None:
        """Count a case by what differs from the undisturbed audit; `more` should not have happened either."""
        self.recorder.count(section, kind, "different" if found else "identical", [*more, *found])

    def audit(self, targets: Path, out: Path, *more: object) -> list[object]:
        """Arguments of an audit; one that is given neither controls nor a bank declines them."""
        declined = [] if {"--controls", "--calibration"} & set(map(str, more)) else ["--no-controls"]
        return ["audit", targets, "--model", self.model, "--out", out, *SMALLEST, *declined, *more]


def findings_of_run(run: Path) -> list[dict[str, Any]]:
    """Findings of a finished run without what clocks decide; none when it has no result."""
    path = run / "report.json"
    if not path.is_file():
        return []
    findings: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["findings"]
    return [{key: value for key, value in finding.items() if key != "seconds"} for finding in findings]


def verdicts_of_run(run: Path) -> dict[str, str]:
    """File name to verdict."""
    return {Path(finding["path"]).name: finding["verdict"] for finding in findings_of_run(run)}


def visible_problems(ended: Ended, codes: Sequence[int]) -> list[str]:
    """List what a user of this command should not have seen."""
    problems = []
    if ended.code not in codes:
        problems.append(f"exit code {ended.code} instead of {' or '.join(map(str, codes))}: {ended.stderr[-300:]!r}")
    if ended.traceback:
        problems.append(f"a traceback: {ended.stderr[-500:]!r}")
    if any(character in ended.stdout + ended.stderr for character in "\x1b\x9b\u202e\u2066\x07"):
        problems.append("control characters from outside on the terminal")
    return problems


def differences(found: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> list[str]:
    """In what findings differ from those of the uninterrupted run; nothing when they are identical."""
    if len(found) != len(expected):
        return [f"{len(found)} findings instead of {len(expected)}"]
    return [
        f"{left['id']} differs in {', '.join(key for key in right if left.get(key) != right[key])}"
        for left, right in zip(found, expected, strict=True)
        if left != right
    ]
