"""The index: what was found over the folder, with the controls beside it, and its images to filter, sort and page.

Rows lie in data/*.js, a thousand each, which the page reads as scripts: from disk nothing else can be read. Without
scripts the same rows are in plain lists.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
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
from imgaudit.report.set_level import SET_LIMIT, set_level_details, set_level_text
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
    folder: Path, rows: Iterator[Mapping[str, Any]], environment: jinja2.Environment, shared: Mapping[str, Any]
) -> dict[str, Any]:
    """Write data files and plain lists, with a file's rows in memory at a time; what the index needs to name them.

    shared:  what all pages share; its `total` is the number of rows
    """
    labels = {verdict.value: WORDING[verdict].label for verdict in Verdict}
    _write_script(folder / "data" / "labels.js", data_script(LABELS, labels))
    chunks, lists = ["labels.js"], list[tuple[str, str]]()
    template = environment.get_template("list.html.jinja")
    while chunk := list(islice(rows, ROWS_PER_FILE)):
        chunks.append(f"images-{len(chunks):04d}.js")
        _write_script(folder / "data" / chunks[-1], data_script(ROWS, chunk))
        for start in range(0, len(chunk), LISTED):
            lists.append(_write_list(folder, len(lists) + 1, chunk[start : start + LISTED], template, shared))
    return {"chunks": chunks, "lists": lists}


def _write_script(path: Path, content: str) -> None:
    write_atomically(path, content, durable=False)


def _write_list(
    folder: Path, number: int, rows: Sequence[Mapping[str, Any]], template: jinja2.Template, shared: Mapping[str, Any]
) -> tuple[str, str]:
    """Write a plain list; its file name and its heading."""
    first, total = (number - 1) * LISTED + 1, shared["total"]
    heading = f"Images {first:,} to {first + len(rows) - 1:,} of {total:,}"
    page = template.render(
        **shared, rows=rows, heading=heading,
        before=list_name(number - 1) if number > 1 else "",
        after=list_name(number + 1) if number * LISTED < total else "",
    )  # fmt: skip
    write_atomically(folder / list_name(number), page, durable=False)
    return list_name(number), heading


def list_name(number: int) -> str:
    """Return the file name of a plain list; the first is number 1."""
    return f"list-{number:04d}.html"


class Seen:
    """What the index says of all findings together, gathered while their pages are written."""

    def __init__(self) -> None:
        self.codes, self.rungs = set[AlarmCode](), set[Rung]()
        self.scores = list[float]()
        self.in_parts = False
        self._thresholds: dict[tuple[bool, bool | None], dict[str, float] | Skipped] = {}

    def add(self, finding: Finding) -> None:
        """Take note of a finding."""
        self.codes |= {alarm.code for alarm in finding.alarms}
        if not isinstance(finding.rung, Skipped):
            self.rungs.add(finding.rung)
        if not isinstance(finding.score, Skipped):
            self.scores.append(finding.score)
        for one in finding.replication:
            part, inverted = one.part, one.rung in INVERTED_RUNGS
            self.in_parts |= isinstance(part, PartReplication) and not isinstance(part.p_value, Skipped)
            self._thresholds.setdefault((inverted, None), one.thresholds)
            self._thresholds.setdefault((inverted, isinstance(one.thresholds, Skipped)), one.thresholds)

    def thresholds(self) -> dict[str, float] | Skipped:
        """Return the copy thresholds, the same for all images: those of inverted rungs where there are any.

        Text rungs may be counted by the absolute standard, which has its own sentence on the page.
        """
        order = ((True, False), (False, False), (True, None), (False, None))
        none = Skipped(skipped="no image was measured")
        return next((self._thresholds[key] for key in order if self._thresholds.get(key)), none)


def index_context(
    folder: Path, seen: Seen, summary: Summary, charts: Charts, copy_level: float
) -> dict[str, Any]:  # fmt: skip
    """Draw the chart of the index, and return what its template needs beyond what all pages share."""
    check = summary.forcing
    return {
        "overview": _write_overview(folder, seen.scores, charts),
        "bank": charts.bank,
        "controls_counted": controls_text(summary),
        "level_said": as_sentence(level_text(summary.level)).removesuffix("."),
        "needed_to_place": controls_to_place(copy_level),
        "corrections": CORRECTION_WORDING,
        "blind_comparison": blind_comparison_text(summary),
        "set_level": set_level_text(summary),
        "set_level_details": set_level_details(summary),
        "set_limit": SET_LIMIT,
        "forcing_rate": None if isinstance(check, Skipped) else clopper_pearson(check.called, check.n),
        "in_parts": seen.in_parts,
        "thresholds": seen.thresholds() if charts.bank is not None else Skipped(skipped="no controls"),
        "columns": COLUMNS,
        "rungs_seen": [rung.value for rung in Rung if rung in seen.rungs],
        "alarms_seen": [code for code in AlarmCode if code in seen.codes],
        "alarm_wording": ALARM_WORDING,
        "describe_effects": describe_effects,
        "sort_alarms": sort_alarms,
    }


def _write_overview(folder: Path, scores: Sequence[float], charts: Charts) -> bool:
    if charts.bank is None or not scores:
        return False
    write_atomically(folder / "charts" / "overview.svg", charts.overview(scores), durable=False)
    return True
