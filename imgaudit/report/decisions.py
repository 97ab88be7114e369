"""Reviewers' decisions as pages and tables show them: always beside the machine's verdict."""

import csv
import io
from dataclasses import dataclass

from imgaudit.report.cells import csv_cell
from imgaudit.report.review import Choice, DecisionLedger, Ledger, ReviewDecision
from imgaudit.report.review.reviewed_run import result_digest, run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.text import file_name

CHOICE_WORDING: dict[Choice, str] = {
    Choice.ACCEPT: "accepts the verdict",
    Choice.DISPUTE: "disputes the verdict",
    Choice.UNSURE: "is unsure",
}

LEVEL_WORDING: tuple[str, ...] = (
    "nothing of it",
    "a faint likeness",
    "some of its content",
    "much of its content, with clear differences",
    "nearly all, with slight differences",
    "all of it",
)
"""The levels 0 to 5 in words; D-Rep fixes the ends of its scale, 0 for no replication and 5 for total."""


@dataclass(frozen=True)
class ReviewContext:
    """What the decision form and the script of a page need of a run."""

    run_id: str
    """Which run; goes into `<meta name="imgaudit-run-id">`."""
    result_sha256: str
    """Which result; goes into `<meta name="imgaudit-result-sha256">`."""
    ledger: Ledger
    """What is saved in the run."""

    @property
    def levels(self) -> list[tuple[int, str]]:
        """Every level with its words."""
        return list(enumerate(LEVEL_WORDING))

    def saved(self, image_id: str) -> list[tuple[ReviewDecision, str]]:
        """What holds on one image, by reviewer, each with its choice in words."""
        return [(decision, CHOICE_WORDING[decision.decision]) for decision in self.ledger.of_image(image_id)]


def review_context(run: RunFolder) -> ReviewContext:
    """What templates get as `review`. Raises RunFolderError for a run without manifest or result."""
    name = run_id(run)
    return ReviewContext(name, result_digest(run), DecisionLedger(run, name).read())


def render_decisions_csv(result: AuditResult, ledger: Ledger, result_sha256: str) -> str:
    """One row per decision ever made, oldest first, that a spreadsheet shows and does not run.

    result_sha256:  of the result as it is now
    """
    findings = {finding.id: finding for finding in result.findings}
    held = set(ledger.latest().values())
    rows = []
    for decision in ledger.history:
        finding = findings.get(decision.image_id)
        row: dict[str, object] = {
            "image_id": decision.image_id,
            "file": file_name(finding.path) if finding else "",
            "machine_verdict": finding.verdict.value if finding else "",
            "reviewer": decision.reviewer,
            "decision": decision.decision.value,
            "replication_level": "" if decision.replication_level is None else decision.replication_level,
            "comment": decision.comment,
            "made": decision.made.isoformat(),
            "holds": "yes" if decision in held else "replaced",
            "verdict_seen": decision.machine_verdict.value,
            "result": "this" if decision.result_sha256 == result_sha256 else f"another: {decision.result_sha256}",
            "source": decision.source.value,
            "version": decision.version,
            "run_id": decision.run_id,
            "sha256": decision.sha256,
        }
        rows.append({key: csv_cell(value) for key, value in row.items()})
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else ["image_id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
