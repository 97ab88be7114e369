"""decisions.json, in which decisions travel between a page, a colleague and a run, and their table as CSV.

A file that comes in is untrusted.
"""

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imgaudit.exceptions import InputError
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import format_csv, format_json
from imgaudit.report.redaction import csv_cell
from imgaudit.report.review.decision import ReviewDecision, Source
from imgaudit.report.review.ledger import Ledger
from imgaudit.report.review.reviewed_run import ReviewedRun
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.text import file_name

FORMAT = "imgaudit-decisions"
"""Mark by which a file of decisions is recognised."""

FORMAT_VERSION = 1
"""Raised whenever a field changes its meaning."""

LARGEST_FILE = 32 * 2**20
"""Bytes."""

MOST_DECISIONS = 20_000
"""In one file."""


def read_decisions_file(path: Path, run: ReviewedRun, *, other_result: bool = False) -> list[ReviewDecision]:
    """Read every decision of a file and check it against the run; all are taken or none.

    other_result:  whether decisions on another result of the run are taken too
    Raises InputError that says what was expected, what came and what to do.
    """
    try:
        content = json.loads(read_bounded(path, LARGEST_FILE))
    except InputError as error:
        raise InputError(f"the decisions {str(path)!r} {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the decisions {str(path)!r} are not JSON: {error}; save them again from the page") from error
    given = _listed(path, content)
    decisions = []
    for number, one in enumerate(given, start=1):
        try:
            decision = parse_decision(one, Source.FILE)
            run.require(decision, other_result=other_result)
        except InputError as error:
            raise InputError(f"decision {number} of {str(path)!r}: {error}. Nothing of the file was taken") from error
        decisions.append(decision)
    return decisions


def parse_decision(value: Any, source: Source) -> ReviewDecision:
    """Check an untrusted decision and return it as a record of this run. Raises InputError.

    source:  how it came; what the decision itself says of that does not count
    """
    if not isinstance(value, dict):
        raise InputError(f"expected an object with the fields of a decision, but got {value!r:.80}")
    own = {"source": source, "version": metadata.version("imgaudit")}
    try:
        return ReviewDecision.model_validate(value | own)
    except ValidationError as error:
        raise InputError(describe_problem(error)) from error


def write_decisions_file(run_id: str, decisions: Sequence[ReviewDecision]) -> str:
    """Return the text of a decisions.json that another copy of the run can import."""
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "run_id": run_id,
        "decisions": [decision.model_dump(mode="json") for decision in decisions],
    }
    return format_json(content)


def render_decisions_csv(result: AuditResult, ledger: Ledger, result_sha256: str) -> str:
    """Write one CSV row per decision ever made, oldest first; no cell runs as a formula.

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
    return format_csv(rows, list(rows[0]) if rows else ["image_id"])


def _listed(path: Path, content: Any) -> list[Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(
            f"{str(path)!r} is no file of decisions: expected an object with format {FORMAT!r}; save it with the "
            "button of a report's page, or with imgaudit review export"
        )
    if content.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{str(path)!r} has format {content.get('format_version')!r:.40}, expected {FORMAT_VERSION}: it is of "
            "another version of imgaudit"
        )
    given = content.get("decisions")
    if not isinstance(given, list):
        raise InputError(f"{str(path)!r} has no list of decisions: save it again from the page")
    if len(given) > MOST_DECISIONS:
        raise InputError(f"{str(path)!r} has {len(given):,} decisions; at most {MOST_DECISIONS:,} are read from a file")
    return given
