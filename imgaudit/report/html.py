"""Pages that open from disk: an index and one page per image, no network, no server, no inline script.

Names from outside are text only; files and ids come from hashes. Jinja escapes everything.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from imgaudit.calibration import NullBank
from imgaudit.dial import Dial
from imgaudit.findings import AuditResult, Finding, Replication, Verdict
from imgaudit.records import Measurement, Replica, Rung, RungMeasurement, Skipped
from imgaudit.reference import read_reference
from imgaudit.report.figures import draw_error_curve, draw_null_distribution, draw_score_overview
from imgaudit.report.wording import P_VALUE_SENTENCE, RUNG_WORDING, STREAMS_LIMIT, WORDING, stream_label
from imgaudit.store import RunFolder, read_json, write_atomically

ASSETS = ("style.css", "index.js")


@dataclass(frozen=True)
class ReplicaView:
    """A replica as a page shows it."""

    replica: Replica
    """The record."""
    copied: bool
    """Whether it passed both copy thresholds."""


@dataclass(frozen=True)
class RungView:
    """A rung as a page shows it: the measurement, the conclusion, and every replica, best first."""

    rung: Rung
    wording: str
    measured: RungMeasurement
    replication: Replication
    replicas: list[ReplicaView]


def page_environment() -> jinja2.Environment:
    """Templates whose every value is escaped, and where a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imgaudit.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["visible"] = printable
    environment.tests["skipped"] = lambda value: isinstance(value, Skipped)
    return environment


def write_assets(folder: Path, names: Sequence[str]) -> None:
    """Copy style and scripts beside the pages."""
    for name in names:
        source = resources.files("imgaudit.report") / "templates" / name
        write_atomically(folder / "assets" / name, source.read_bytes())


def _number(value: float | Skipped, pattern: str = ".3g") -> str:
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else format(value, pattern)


def _percent(value: float | Skipped, digits: int = 1) -> str:
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else f"{value:.{digits}%}"


def printable(text: str) -> str:
    """Control and direction characters as escapes, so that a name reads as what it is."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _is_copy(replica: Replica, replication: Replication) -> bool:
    thresholds = replication.thresholds
    if (
        isinstance(thresholds, Skipped)
        or isinstance(replica.similarity, Skipped)
        or isinstance(replica.distance, Skipped)
    ):
        return False
    return (
        replica.similarity["pixel"] > thresholds["similarity"]
        and replica.distance["tiled_rms"] < thresholds["distance"]
    )


def _rung_views(measurement: Measurement, finding: Finding) -> Iterator[RungView]:
    for replication in finding.replication:
        measured = measurement.rungs[replication.rung]
        if isinstance(measured, Skipped):
            continue
        views = [ReplicaView(replica, _is_copy(replica, replication)) for replica in measured.replicas]
        views.sort(key=lambda v: -2.0 if isinstance(v.replica.similarity, Skipped) else v.replica.similarity["pixel"])
        yield RungView(replication.rung, RUNG_WORDING[replication.rung], measured, replication, views[::-1])


def reproduction_command(result: AuditResult) -> str:
    """The command line that made the run, without the path of the program."""
    command = [str(part) for part in result.run.get("command", [])]
    return shlex.join(["imgaudit", *command[1:]])


def write_html(run: RunFolder, result: AuditResult) -> None:
    """Write RUN/report: index.html, one page per finding, charts and assets."""
    folder = run.path / "report"
    environment = page_environment()
    measurements = {measurement.id: measurement for measurement in run.read_measurements()[0]}
    bank = NullBank.read(run.calibration_path) if run.calibration_path.is_file() else None
    write_assets(folder, ASSETS)
    order = list(Verdict)
    findings = sorted(result.findings, key=lambda f: (order.index(f.verdict), f.path))
    shared: dict[str, Any] = {
        "result": result,
        "wording": WORDING,
        "command": reproduction_command(result),
        "names": {finding.id: Path(finding.path).name for finding in findings},
        "unfinished": result.summary.targets - len(findings),
        "reference": read_reference(run),
    }
    for place, finding in enumerate(findings):
        measurement = measurements.get(finding.id)
        charts = _draw_charts(folder, finding, bank, result.summary.level)
        page = environment.get_template("image.html.jinja").render(
            **shared,
            finding=finding,
            measurement=measurement,
            rungs=list(_rung_views(measurement, finding)) if measurement else [],
            charts=charts,
            dial=_read_dial(run, finding),
            stream_rates=[rate for one in finding.replication for rate in one.stream_rates],
            stream_label=stream_label,
            streams_limit=STREAMS_LIMIT,
            p_value_sentence=_p_value_sentence(finding),
            previous=findings[place - 1].id if place else None,
            following=findings[place + 1].id if place + 1 < len(findings) else None,
        )
        write_atomically(folder / f"{finding.id}.html", page)
    overview = _draw_overview(folder, findings, bank, result.summary.level)
    page = environment.get_template("index.html.jinja").render(
        **shared, findings=findings, overview=overview, bank=bank
    )
    write_atomically(folder / "index.html", page)


def _read_dial(run: RunFolder, finding: Finding) -> Dial | None:
    """What `imgaudit dial` found, if it was run and copies are still told by the thresholds that it used."""
    path = run.image_folder(finding.id) / "dial.json"
    if not path.is_file():
        return None
    dial = Dial.model_validate(read_json(path))
    told = [one.thresholds for one in finding.replication if one.rung is Rung.EMBEDDING and one.stands]
    return dial if told == [dial.thresholds] else None


def _p_value_sentence(finding: Finding) -> str:
    return "" if isinstance(finding.p_value, Skipped) else P_VALUE_SENTENCE.format(p=f"{finding.p_value:.3g}")


def _draw_charts(folder: Path, finding: Finding, bank: NullBank | None, level: float) -> list[str]:
    charts = []
    if bank is not None and not isinstance(finding.score, Skipped):
        draw_null_distribution(bank, finding.score, level, folder / "charts" / f"{finding.id}-null.svg")
        charts.append("null")
    if not isinstance(finding.error, Skipped):
        draw_error_curve(finding.error, bank, folder / "charts" / f"{finding.id}-error.svg")
        charts.append("error")
    return charts


def _draw_overview(folder: Path, findings: list[Finding], bank: NullBank | None, level: float) -> bool:
    scores = [finding.score for finding in findings if not isinstance(finding.score, Skipped)]
    if bank is None or not bank.controls or not scores:
        return False
    draw_score_overview(bank, scores, level, folder / "charts" / "overview.svg")
    return True
