"""One result, four formats. HTML, JSON, CSV and Markdown are all made from the same AuditResult."""

import enum
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path

from imgaudit.decision.controls_needed import ComparedWorks
from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.io.writing import format_csv_lines, write_atomically, write_json
from imgaudit.report.alarm_wording import sort_alarms
from imgaudit.report.answer import answer_question, count_close
from imgaudit.report.audit.html import write_html
from imgaudit.report.audit.rendering import RENDERING, Rendering
from imgaudit.report.copy_counts import copies_text, describe_uncounted, is_counted
from imgaudit.report.junit import render_junit
from imgaudit.report.redaction import csv_cell
from imgaudit.report.review.context import ReviewContext, review_context
from imgaudit.report.sarif import render_sarif
from imgaudit.report.set_level import set_level_pointer
from imgaudit.report.wording import (
    INVMM_LIMIT,
    INVMM_MEANING,
    STREAMS_LIMIT,
    WORDING,
    blind_comparison_text,
    controls_text,
    false_positive_text,
    invmm_text,
    part_of,
    part_text,
    stream_text,
)
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.caption_score import CaptionScore
from imgaudit.schema.comparison import REPRODUCED
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.records import DECIDING_RUNGS, REPORTED_RUNGS, Skipped
from imgaudit.schema.text import as_sentence, file_name


class ReportFormat(enum.StrEnum):
    """Formats that `imgaudit report` can write."""

    HTML = "html"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    SARIF = "sarif"
    JUNIT = "junit"
    COUNSEL = "counsel"


def _csv_row(finding: Finding, level: float, *, with_invmm: bool) -> dict[str, str]:
    row: dict[str, object] = {
        "id": finding.id,
        "file": finding.path,
        "sha256": finding.sha256,
        "verdict": finding.verdict.value,
        "rung": "" if isinstance(finding.rung, Skipped) else finding.rung.value,
        "score": finding.score,
        "score_p_value": finding.score_p_value,
        **_caption_cells(finding.caption_score),
        "p_value": finding.p_value,
        "q_value": finding.q_value,
        "deciding_q": find_deciding_number(finding, level).value,
        "group": finding.group,
    }
    by_rung = {replication.rung: replication for replication in finding.replication}
    for rung in (*DECIDING_RUNGS, *(REPORTED_RUNGS if with_invmm else ())):
        replication = by_rung.get(rung)
        for key in ("hits", "n", "low", "high", "near_identical"):
            # Without a valid threshold nothing was counted, and a number would look like a result.
            told = replication is not None and (is_counted(replication) or key in ("n", "near_identical"))
            row[f"{rung.value}_{key}"] = getattr(replication, key) if told else ""
    partly = part_of(finding)
    row["part_rung"] = partly.rung.value if partly else ""
    for key in ("hits", "n", "low", "high"):
        row[f"part_{key}"] = getattr(partly.part, key) if partly else ""
    row["part_area"] = finding.part.pair.region.area if finding.part else ""
    if with_invmm:
        for key in ("kl_per_dimension", "p_value", "steps", "condition", "network_evaluations"):
            row[f"invmm_{key}"] = getattr(finding.invmm, key) if finding.invmm else ""
    row["reason"] = finding.reason
    row["alarms"] = "; ".join(f"{alarm.code}: {alarm.message}" for alarm in finding.alarms)
    # A column holds numbers or nothing, so that programs can read it; the reason stands in its own column.
    return {key: "" if isinstance(value, Skipped) else csv_cell(value) for key, value in row.items()}


def _caption_cells(found: CaptionScore | Skipped | None) -> dict[str, object]:
    """Return the cells of the score under the caption; empty ones in results of versions that did not measure it."""
    if isinstance(found, CaptionScore):
        return {"caption_score": found.score, "caption_score_p_value": found.p_value}
    return dict.fromkeys(("caption_score", "caption_score_p_value"), "" if found is None else found)


def render_csv(result: AuditResult) -> str:
    """Write one CSV row per file given."""
    return "".join(_csv_lines(result))


def _csv_lines(result: AuditResult) -> Iterator[str]:
    # One walk over the findings is saved where nothing was measured by InvMM.
    with_invmm = result.protocol.invmm is not None and any(finding.invmm for finding in result.findings)
    rows = (_csv_row(finding, result.summary.level, with_invmm=with_invmm) for finding in result.findings)
    first = next(rows, None)
    if first is None:
        return format_csv_lines([], ["id"])
    return format_csv_lines(chain([first], rows), list(first))


def markdown_text(text: str) -> str:
    """Escape outside text for a Markdown table, so that nothing in it is markup."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    return "".join("\\" + c if c in "\\`*_{}[]()#+-.!|<>~&" else c for c in flat)


def render_markdown(result: AuditResult) -> str:
    """Write counts, what the controls can find, and a table of findings as Markdown."""
    summary, told = result.summary, _TableOfFindings(result)
    model, answer = result.run.get("model", {}), answer_question(summary, told.close)
    lines = [
        f"# Audit of {summary.targets} images against {markdown_text(str(model.get('name', '')))}",
        "",
        f"**{answer.word}:** {answer.sentence}",
        "",
        f"Model fingerprint `{model.get('fingerprint', '')}`, protocol `{result.protocol.hash}`, "
        f"seed {result.run.get('seed')}, started {result.run.get('started')}.",
        "",
        *(f"- {WORDING[verdict].label}: {count}" for verdict, count in summary.counts.items() if count),
        f"- {told.works.describe(summary.controls)}",
        *([f"- {markdown_text(false_positive_text(summary))}"] if summary.controls else []),
        *([f"- {works}"] if (works := controls_text(summary)) else []),
        *(f"- Decided again, not by the rules that the run began with: {change}" for change in result.redecided),
        *(f"- {reason}" for reason in describe_uncounted(told.uncounted)),
        *([f"- {compared}"] if (compared := blind_comparison_text(summary)) else []),
        *([f"- {markdown_text(as_set)}"] if (as_set := set_level_pointer(summary)) else []),
        *(f"- Alarm: {markdown_text(as_sentence(alarm.message))}" for alarm in sort_alarms(summary.alarms)),
        "",
        "| verdict | file | p | q | deciding q | copies among generated images (95 % interval) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += told.rows()
    if told.carried:
        lines += ["", "Which text stream carries the copies, for seeds that gave copies (95 % interval):", ""]
        lines += [*told.carried, "", STREAMS_LIMIT]
    if told.moved:
        lines += ["", "InvMM: how far the initial noise had to be moved before the model returned the image:", ""]
        lines += [*told.moved, "", f"{INVMM_MEANING} {INVMM_LIMIT}"]
    lines += ["", "What each verdict does not say:", ""]
    lines += [f"- {WORDING[v].label}: {WORDING[v].limit}" for v, count in summary.counts.items() if count]
    return "\n".join(lines) + "\n"


class _TableOfFindings:
    """Lines of Markdown on every image, made in one walk over the findings."""

    def __init__(self, result: AuditResult) -> None:
        order = {verdict: place for place, verdict in enumerate(Verdict)}
        self._rows = list[tuple[int, str, str]]()
        self.carried, self.moved = list[str](), list[str]()
        self.close = 0
        self.uncounted: dict[str, None] = {}
        self.works = ComparedWorks(result.summary.level)
        for finding in result.findings:
            self.works.add(finding)
            self.close += count_close([finding])
            row = _markdown_row(finding, result.summary.level)
            self._rows.append((order[finding.verdict], finding.path, row))
            name = markdown_text(file_name(finding.path))
            for one in finding.replication:
                if isinstance(one.thresholds, Skipped):
                    self.uncounted[one.thresholds.skipped] = None
                if one.stream_rates:
                    self.carried.append(f"- {name}: {markdown_text(stream_text(one.stream_rates))}")
            if finding.invmm:
                self.moved.append(f"- {name}: {markdown_text(invmm_text(finding.invmm))}")

    def rows(self) -> list[str]:
        """Return the rows of a table, with what was reproduced first, in the order of the verdicts, then by path."""
        return [row for _, _, row in sorted(self._rows, key=lambda one: one[:2])]


def _markdown_row(finding: Finding, level: float) -> str:
    copies = copies_text(finding)
    copies += f"; {text}" if (text := part_text(finding)) else ""
    p, q, decided = (
        "not measured" if isinstance(value, Skipped) else f"{value:.3g}"
        for value in (finding.p_value, finding.q_value, find_deciding_number(finding, level).value)
    )
    return f"| {finding.verdict.value} | {markdown_text(file_name(finding.path))} | {p} | {q} | {decided} | {copies} |"


def render(result: AuditResult, kind: ReportFormat, failing: Collection[Verdict] = REPRODUCED) -> str:
    """Return a text format as a string.

    failing:  verdicts that are failures in the formats for CI, SARIF and JUnit

    Raises ValueError for HTML, which is a folder, and for counsel's file.
    """
    if kind is ReportFormat.JSON:
        return result.model_dump_json(indent=2) + "\n"
    if kind is ReportFormat.CSV:
        return render_csv(result)
    if kind is ReportFormat.MARKDOWN:
        return render_markdown(result)
    if kind is ReportFormat.SARIF:
        return render_sarif(result, failing)
    if kind is ReportFormat.JUNIT:
        return render_junit(result, failing)
    if kind is ReportFormat.COUNSEL:
        raise ValueError("the file for counsel is made from a finished run: use counsel.document.render_counsel")
    raise ValueError("HTML is a folder of pages: use write_report")


def write_report(run: RunFolder, result: AuditResult, processes: int = 1) -> None:
    """Write every format into RUN/report; `processes` as in `write_html`."""
    render_into(run.path / "report", run, result, review_context(run), processes)


def render_into(folder: Path, run: RunFolder, result: AuditResult, review: ReviewContext, processes: int = 1) -> None:
    """Write every format of a run into a folder, with a note of what made it; arguments as in `write_html`."""
    write_html(run, result, folder, review, processes)
    write_atomically(folder / "findings.csv", _csv_lines(result))
    write_atomically(folder / "summary.md", render_markdown(result))
    write_json(folder / RENDERING, Rendering.now(review).model_dump(mode="json"))
