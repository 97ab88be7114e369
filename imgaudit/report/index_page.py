"""The index: what was found over the folder, with the controls beside it, and a table of its images."""

from pathlib import Path
from typing import Any

from imgaudit.calibration import NullBank
from imgaudit.findings import Finding, PartReplication
from imgaudit.records import Skipped
from imgaudit.report.figures import draw_score_overview


def index_context(folder: Path, findings: list[Finding], bank: NullBank | None, level: float) -> dict[str, Any]:
    """What the template of the index needs beyond what all pages share; its chart is drawn on the way."""
    in_parts = any(
        isinstance(one.part, PartReplication) and not isinstance(one.part.p_value, Skipped)
        for finding in findings
        for one in finding.replication
    )
    overview = _draw_overview(folder, findings, bank, level)
    return {"findings": findings, "overview": overview, "bank": bank, "in_parts": in_parts}


def _draw_overview(folder: Path, findings: list[Finding], bank: NullBank | None, level: float) -> bool:
    scores = [finding.score for finding in findings if not isinstance(finding.score, Skipped)]
    if bank is None or not bank.controls or not scores:
        return False
    draw_score_overview(bank, scores, level, folder / "charts" / "overview.svg")
    return True
