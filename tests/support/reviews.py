"""Decisions of reviewers on the finished run, as pages and colleagues hand them in."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.report.review import (
    DecisionLedger,
    ReviewDecision,
    ReviewedRun,
)

MADE = "2026-05-04T10:20:30.123Z"


def fields(reviewed: ReviewedRun, number: int = 0, **changes: Any) -> dict[str, Any]:
    """A decision on one of the run's images as a page writes it."""
    finding = sorted(reviewed.images.values(), key=lambda one: one.path)[number]
    values: dict[str, Any] = {
        "run_id": reviewed.run_id, "image_id": finding.id, "sha256": finding.sha256,
        "result_sha256": reviewed.result_sha256, "decision": "accept", "replication_level": 4,
        "comment": "As I see it.", "reviewer": "Ann", "made": MADE, "machine_verdict": finding.verdict.value,
    }  # fmt: skip
    return values | changes


def decision(reviewed: ReviewedRun, number: int = 0, **changes: Any) -> ReviewDecision:
    return ReviewDecision.model_validate(fields(reviewed, number, **changes) | {"source": "file", "version": "0.1.0"})


def ledger_of(reviewed: ReviewedRun) -> DecisionLedger:
    return DecisionLedger(reviewed.folder, reviewed.run_id)


def saved_file(path: Path, reviewed: ReviewedRun, *decisions: dict[str, Any]) -> Path:
    content = {"format": "imgaudit-decisions", "format_version": 1, "run_id": reviewed.run_id, "decisions": decisions}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["review", *map(str, arguments)])
