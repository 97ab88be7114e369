"""Pages that open from disk: an index and one page per image."""

from pathlib import Path
from typing import Any

from imgaudit.calibration import NullBank
from imgaudit.findings import AuditResult, Verdict
from imgaudit.reference import read_reference
from imgaudit.report.image_page import image_context
from imgaudit.report.index_page import index_context
from imgaudit.report.pages import page_environment, reproduction_command, write_assets
from imgaudit.report.wording import WORDING
from imgaudit.store import RunFolder, write_atomically

ASSETS = ("style.css", "image.css", "index.js", "image.js", "keys.js")


def write_html(run: RunFolder, result: AuditResult) -> None:
    """Write RUN/report: index.html, one page per finding, charts and assets."""
    folder = run.path / "report"
    environment = page_environment()
    measurements = {measurement.id: measurement for measurement in run.read_measurements()[0]}
    bank = NullBank.read(run.calibration_path) if run.calibration_path.is_file() else None
    level = result.summary.level
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
        page = environment.get_template("image.html.jinja").render(
            **shared,
            **image_context(run, finding, measurements.get(finding.id), bank, level),
            place=place + 1,
            total=len(findings),
            side=result.run["model"]["resolution"],
            previous=findings[place - 1].id if place else None,
            following=findings[place + 1].id if place + 1 < len(findings) else None,
        )
        write_atomically(folder / f"{finding.id}.html", page)
    page = environment.get_template("index.html.jinja").render(**shared, **index_context(folder, findings, bank, level))
    write_atomically(folder / "index.html", page)
