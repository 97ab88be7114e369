"""A finished run as reviewers see it: which images it has, what the machine said, and by which digests both are known.

Reads the manifest and the report alone, and neither torch nor a model, so that a page server starts at once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.report.review.decision import ReviewDecision
from imgaudit.runs.finished import read_result, result_digest, run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Finding

CLOCKS_DIFFER = timedelta(days=1)
"""Longest time by which a decision may be ahead of this clock: newest wins, so a far date would win for ever."""


@dataclass(frozen=True)
class ReviewedRun:
    """The run that decisions are checked against."""

    folder: RunFolder
    """Folder of the run."""
    run_id: str
    """First 16 hex digits of the SHA-256 of manifest.json."""
    result_sha256: str
    """SHA-256 of report.json."""
    result: AuditResult
    """Conclusions of the machine."""

    @cached_property
    def images(self) -> dict[str, Finding]:
        """Findings that can be decided on, by id: those of files that could be read."""
        return {finding.id: finding for finding in self.result.findings if finding.sha256}

    def require(self, decision: ReviewDecision, *, other_result: bool = False) -> None:
        """Raise InputError unless the decision is on an image of this run and on its result as it is now.

        other_result:  whether it may be on another result of this run: it stays marked by that result's digest
        """
        if decision.run_id != self.run_id:
            raise InputError(
                f"expected decisions on run {self.run_id}, but got one on run {decision.run_id}: give the folder of "
                "the run that was reviewed"
            )
        finding = self.images.get(decision.image_id)
        if finding is None or finding.sha256 != decision.sha256:
            raise InputError(
                f"expected one of the {len(self.images)} images of run {self.run_id}, but got {decision.image_id}, "
                "which is not among them or could not be read: take this decision out of the file"
            )
        if decision.made > datetime.now(UTC) + CLOCKS_DIFFER:
            raise InputError(
                f"expected a decision of the past, but got one made {decision.made.isoformat()}: set the clock of the "
                "machine it was made on, and decide again"
            )
        if decision.result_sha256 != self.result_sha256:
            if not other_result:
                raise InputError(
                    f"expected decisions on result {self.result_sha256[:16]}, but got one on result "
                    f"{decision.result_sha256[:16]}: the run was decided again since. Look at the images again, or "
                    "give --other-result to take the decision with that mark"
                )
        elif decision.machine_verdict is not finding.verdict:
            raise InputError(
                f"expected the machine's verdict on {decision.image_id} to be {finding.verdict.value}, but got "
                f"{decision.machine_verdict.value}: the file was edited, or its pages were; write them again with "
                "imgaudit report"
            )


def read_reviewed_run(path: Path) -> ReviewedRun:
    """Read a run folder. Raises RunFolderError when it is not a run, not finished, or damaged."""
    folder = RunFolder(path)
    before = result_digest(folder) if folder.report_path.is_file() else ""
    result = read_result(folder)
    if result_digest(folder) != before:
        raise RunFolderError(f"{str(path)!r} is being decided again at this moment; try again when that is done")
    return ReviewedRun(folder, run_id(folder), before, result)
