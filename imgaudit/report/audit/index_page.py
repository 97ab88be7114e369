"""The index: what was found over the folder, with the controls beside it, and its images to filter, sort and page.

Rows lie in data/*.js, a thousand each, which the page reads as scripts: from disk nothing else can be read. Without
scripts the same rows are in plain lists.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from imgaudit.decision.copy_thresholds import controls_to_place
from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.io.writing import write_atomically
from imgaudit.report.alarm_wording import ALARM_WORDING, describe_effects, sort_alarms
from imgaudit.report.audit.charts import Charts
from imgaudit.report.copy_counts import is_counted
from imgaudit.report.page_data import LABELS, ROWS, data_script
from imgaudit.report.set_level import set_level_text
from imgaudit.report.wording import (
    CORRECTION_WORDING,
    WORDING,
    blind_comparison_text,
    controls_text,
    level_text,
)
from imgaudit.schema.findings import AlarmCode, Finding, Summary, Verdict
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.records import INVERTED_RUNGS, Rung, Skipped
from imgaudit.schema.replication import PartReplication
from imgaudit.schema.text import as_sentence, printable
from imgaudit.statistics import clopper_pearson

ROWS_PER_FILE = 1000
"""Rows of a data file."""

LISTED = 500
"""Images of a plain list."""

LONGEST = 300
"""Characters of a text that is searched on the index; the page of the image has all of it."""

COLUMNS = (
    ("", "Image, closest", "replica"), ("name", "File", ""), ("verdict", "Verdict", "verdict"),
    ("rate", "Copies, 95 % interval", "interval"), ("similarity", "Best similarity", "similarity"),
    ("score", "Score", "score"), ("p", "p", "p"), ("q", "Deciding q", "deciding q"),
)  # fmt: skip
"""Key to sort by, heading, and word of the glossary that explains it."""


def row_of(finding: Finding, name: str, texts: Sequence[str], review: str, level: float) -> dict[str, Any]:
    """Return what the index shows of one image; `target` and `best`, which say whether it has thumbnails, come later.

    texts:   what it was asked with
    review:  the newest decision that the run holds, or nothing
    level:   false discovery rate over the folder
    """
    replica, decided = finding.best_replica, find_deciding_number(finding, level)
    return {
        "id": finding.id,
        "name": printable(name),
        "verdict": finding.verdict.value,
        "rung": "" if isinstance(finding.rung, Skipped) else finding.rung.value,
        "reason": printable(finding.reason),
        "texts": [printable(text[:LONGEST]) for text in texts],
        "score": _measured(finding.score),
        "p": _measured(finding.p_value),
        "q": _measured(finding.q_value),
        "decided": _measured(decided.value),
        "by_controls": decided.with_controls,
        "similarity": None if isinstance(replica, Skipped) else round(replica.similarity[DECIDING_DESCRIPTOR], 4),
        "copies": [
            (r.rung.value, r.hits if is_counted(r) else None, r.n, round(r.low, 4), round(r.high, 4))
            for r in finding.replication
        ],
        "scored_only": finding.scored_only,
        "alarms": [alarm.code.value for alarm in finding.alarms],
        "sha256": finding.sha256,
        "review": review,
    }


def _measured(value: float | Skipped) -> float | None:
    return None if isinstance(value, Skipped) else float(f"{value:.6g}")


def write_rows(
    folder: Path, rows: Sequence[Mapping[str, Any]], environment: jinja2.Environment, shared: Mapping[str, Any]
) -> dict[str, Any]:
    """Write data files and plain lists; what the index needs to name them."""
    labels = {verdict.value: WORDING[verdict].label for verdict in Verdict}
    _write_script(folder / "data" / "labels.js", data_script(LABELS, labels))
    chunks = ["labels.js"]
    for number, chunk in enumerate(_batches(rows, ROWS_PER_FILE), start=1):
        chunks.append(f"images-{number:04d}.js")
        _write_script(folder / "data" / chunks[-1], data_script(ROWS, list(chunk)))
    lists = list(_write_lists(folder, rows, environment, shared))
    return {"chunks": chunks, "lists": lists}


def _batches(rows: Sequence[Mapping[str, Any]], size: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _write_script(path: Path, content: str) -> None:
    write_atomically(path, content, durable=False)


def _write_lists(
    folder: Path, rows: Sequence[Mapping[str, Any]], environment: jinja2.Environment, shared: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    template = environment.get_template("list.html.jinja")
    count = -(-len(rows) // LISTED)
    for number, chunk in enumerate(_batches(rows, LISTED), start=1):
        first = (number - 1) * LISTED + 1
        heading = f"Images {first:,} to {first + len(chunk) - 1:,} of {len(rows):,}"
        page = template.render(
            **shared, rows=chunk, heading=heading,
            before=list_name(number - 1) if number > 1 else "", after=list_name(number + 1) if number < count else "",
        )  # fmt: skip
        write_atomically(folder / list_name(number), page, durable=False)
        yield list_name(number), heading


def list_name(number: int) -> str:
    """Return the file name of a plain list; the first is number 1."""
    return f"list-{number:04d}.html"


def index_context(
    folder: Path, findings: Sequence[Finding], summary: Summary, charts: Charts, copy_level: float
) -> dict[str, Any]:
    """Draw the chart of the index, and return what its template needs beyond what all pages share."""
    check = summary.forcing
    codes = {alarm.code for finding in findings for alarm in finding.alarms}
    rungs = {finding.rung for finding in findings if not isinstance(finding.rung, Skipped)}
    return {
        "overview": _write_overview(folder, findings, charts),
        "bank": charts.bank,
        "controls_counted": controls_text(summary),
        "level_said": as_sentence(level_text(summary.level)).removesuffix("."),
        "needed_to_place": controls_to_place(copy_level),
        "corrections": CORRECTION_WORDING,
        "blind_comparison": blind_comparison_text(summary),
        "set_level": set_level_text(summary),
        "forcing_rate": None if isinstance(check, Skipped) else clopper_pearson(check.called, check.n),
        "in_parts": any(_in_parts(finding) for finding in findings),
        "thresholds": _thresholds(findings, charts),
        "columns": COLUMNS,
        "rungs_seen": [rung.value for rung in Rung if rung in rungs],
        "alarms_seen": [code for code in AlarmCode if code in codes],
        "alarm_wording": ALARM_WORDING,
        "describe_effects": describe_effects,
        "sort_alarms": sort_alarms,
    }


def _thresholds(findings: Sequence[Finding], charts: Charts) -> dict[str, float] | Skipped:
    """Return the copy thresholds of the controls, the same for all images: those of inverted rungs where there are any.

    Text rungs may be counted by the absolute standard, which has its own sentence on the page.
    """
    ladder = [one for finding in findings for one in finding.replication]
    told = [one.thresholds for one in sorted(ladder, key=lambda one: one.rung not in INVERTED_RUNGS)]
    if charts.bank is None:
        return Skipped(skipped="no controls")
    decided = (one for one in told if not isinstance(one, Skipped))
    return next(decided, None) or next(iter(told), Skipped(skipped="no image was measured"))


def _in_parts(finding: Finding) -> bool:
    parts = [one.part for one in finding.replication]
    return any(isinstance(part, PartReplication) and not isinstance(part.p_value, Skipped) for part in parts)


def _write_overview(folder: Path, findings: Sequence[Finding], charts: Charts) -> bool:
    scores = [finding.score for finding in findings if not isinstance(finding.score, Skipped)]
    if charts.bank is None or not scores:
        return False
    write_atomically(folder / "charts" / "overview.svg", charts.overview(scores), durable=False)
    return True
