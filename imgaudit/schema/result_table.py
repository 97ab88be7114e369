"""An audit's result as an HTML table for a notebook: no script, no outside file, every text escaped."""

from collections.abc import Iterator
from html import escape

from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.records import Skipped
from imgaudit.schema.replication import PartReplication, Replication
from imgaudit.schema.text import file_name, printable

MOST_ROWS = 200
"""Images in the table; a notebook with thousands of rows is slow to open."""

HEADINGS = ("Image", "Verdict", "Reproduced from", "Copies among generated images", "p", "q", "Best similarity")

# Colours come from the notebook, so that the table can be read on a light and on a dark page.
STYLE = (
    ".imgaudit-result{overflow-x:auto}.imgaudit-result table{border-collapse:collapse;font-size:.9em}"
    ".imgaudit-result :is(th,td){text-align:left;vertical-align:top;padding:.3em .7em;"
    "border-bottom:1px solid rgba(128,128,128,.4);background:none;color:inherit;overflow-wrap:break-word}"
    ".imgaudit-result caption{caption-side:top;text-align:left;padding:.3em .7em;color:inherit;font-weight:600}"
    ".imgaudit-result tbody th{min-width:9em;max-width:16em;overflow-wrap:anywhere}"
    ".imgaudit-result :is(span,.number){white-space:nowrap}.imgaudit-result p{margin:.4em .7em}"
)  # fmt: skip


def result_table_html(result: AuditResult) -> str:
    """Return the result as an HTML fragment: counts as the caption, then one row per image, copies first.

    Only the first MOST_ROWS images are listed; a line below says how many more there are.
    """
    headings = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in HEADINGS)
    severity = list(Verdict)
    findings = sorted(result.findings, key=lambda finding: severity.index(finding.verdict))
    rows = "\n".join(_row(finding) for finding in findings[:MOST_ROWS])
    more = len(findings) - MOST_ROWS
    note = f"<p>{more:,} more images are in report.json.</p>\n" if more > 0 else ""
    return (
        f'<div class="imgaudit-result"><style>{STYLE}</style>\n<table><caption>{_text(_caption(result))}</caption>\n'
        f"<thead><tr>{headings}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>\n{note}"
        "<p>&ldquo;Not reproduced&rdquo; means: not within this budget. It never means that an image is safe.</p></div>"
    )


def _caption(result: AuditResult) -> str:
    model = result.run.get("model")
    name = model.get("name", "") if isinstance(model, dict) else ""
    counts = ", ".join(f"{count} {verdict.label.lower()}" for verdict, count in result.summary.counts.items() if count)
    images = f"{result.summary.targets:,} {'image' if result.summary.targets == 1 else 'images'}"
    return f"Audit of {images} against {name or 'a model'}: {counts or 'nothing was measured'}"


def _row(finding: Finding) -> str:
    head = f'<th scope="row">{_text(file_name(finding.path))}</th><td><strong>{finding.verdict.label}</strong></td>'
    if finding.verdict is Verdict.SKIPPED:
        return f'<tr>{head}<td colspan="{len(HEADINGS) - 2}">{_text(finding.reason)}</td></tr>'
    replica = finding.best_replica
    similarity = "&ndash;" if isinstance(replica, Skipped) else f"{replica.similarity[DECIDING_DESCRIPTOR]:.3f}"
    rung = "&ndash;" if isinstance(finding.rung, Skipped) else _text(finding.rung.value)
    rates = "<br>".join(line for one in finding.replication for line in _rates(one)) or "&ndash;"
    numbers = (_number(finding.p_value), _number(finding.q_value), similarity)
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f"<tr>{head}<td>{rung}</td><td>{rates}</td>{cells}</tr>"


def _rates(one: Replication) -> Iterator[str]:
    yield _rate(one.rung.value, one, one.confidence)
    if isinstance(one.part, PartReplication) and one.part.stands:
        yield _rate(f"{one.rung.value}, at least a part", one.part, one.confidence)


def _rate(label: str, counted: Replication | PartReplication, confidence: float) -> str:
    if isinstance(counted.thresholds, Skipped):
        return f"<span>{_text(f'{label}: not counted')}</span>"
    share = f"{counted.hits / counted.n:.1%}, " if counted.n else ""
    interval = f"{100 * confidence:g} % interval {counted.low:.1%} to {counted.high:.1%}"
    return f"<span>{_text(f'{label}: {counted.hits} of {counted.n} ({share}{interval})')}</span>"


def _number(value: float | Skipped) -> str:
    return "&ndash;" if isinstance(value, Skipped) else f"{value:.3g}"


def _text(text: str) -> str:
    return escape(printable(text))
