"""Pages that open from disk: an index and one page per image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from imgaudit.decision.controls_needed import ComparedWorks
from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.decision.null_bank import NullBank
from imgaudit.io.containment import OpenFolder, open_folder
from imgaudit.io.thumbnails import write_thumbnails
from imgaudit.io.writing import write_atomically, write_into
from imgaudit.report.answer import answer_question, count_close
from imgaudit.report.audit.charts import Charts
from imgaudit.report.audit.image_page import image_context
from imgaudit.report.audit.index_page import Seen, index_context, row_of, write_rows
from imgaudit.report.copy_counts import are_placed
from imgaudit.report.glossary import PAGE
from imgaudit.report.pages import (
    continuing_commands,
    describe_history,
    describe_sealing,
    describe_shards,
    page_environment,
    render_glossary,
    reproduction_command,
    write_assets,
)
from imgaudit.report.review.context import ReviewContext
from imgaudit.report.wording import KEYS, WORDING
from imgaudit.runs.folder import RecordIndex, RunFolder
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.reference import read_reference
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.records import Measurement, RungMeasurement, Skipped
from imgaudit.schema.score_search import describe_measuring, describe_search_budget, search_of
from imgaudit.schema.stored_findings import take_findings

ASSETS = ("image.css", "index.css", "decisions.css", "index.js", "image.js", "decisions.js", "keys.js")


def write_html(run: RunFolder, result: AuditResult, folder: Path, review: ReviewContext, processes: int = 1) -> None:
    """Write index.html, one page per finding, data, lists, thumbnails, charts and assets into a folder.

    Measurements are read one at a time, and what all pages share is computed once.
    folder:     RUN/report, or any other folder: the pages are the same, but their links to pictures of the run lead
                from RUN/report alone
    review:     the decisions that the pages show
    processes:  that write thumbnails; more than one only from a program whose main module can be imported again
    """
    environment = page_environment()
    bank = NullBank.read(run.calibration_path).by_work() if run.calibration_path.is_file() else None
    search = search_of(result.protocol, result.run["model"]["prediction_type"])
    charts = Charts(bank, result.summary.level, search)
    write_assets(folder, ASSETS)
    listed = _Listed(result)
    findings = listed.findings
    shared: dict[str, Any] = {
        "result": result,
        "answer": answer_question(result.summary, count_close(result.findings)),
        "wording": WORDING,
        "command": reproduction_command(result),
        "continued": continuing_commands(result),
        "controls_used": listed.works.describe(result.summary.controls),
        "placed": are_placed(result),
        "sealing": describe_sealing(result),
        "history": describe_history(review.history),
        "merged": describe_shards(read_manifest(run).merged),
        "names": listed.names,
        "unfinished": result.summary.targets - len(findings),
        "reference": read_reference(run),
        "review": review,
        "total": len(findings),
        "side": result.run["model"]["resolution"],
        "search": search,
        "search_budget": describe_search_budget(result.protocol, search),
        "measured_after": describe_measuring(result.protocol, search),
        "protocol_hash": result.protocol.hash,
        "keys": KEYS,
    }
    for name in ("run_facts", "keys_dialog"):
        # The same on every page: rendered once.
        shared[name] = markupsafe.Markup(environment.get_template(f"{name}.html.jinja").render(**shared))
    seen = Seen()
    template = environment.get_template("image.html.jinja")
    with (
        write_thumbnails(listed.pictures(run, folder / "thumbs"), processes) as made,
        open_folder(folder, make=True) as pages,
        open_folder(folder / "charts", make=True) as drawn,
    ):
        rows = _write_images(run, folder, (pages, drawn), (findings, listed.ids, seen), template, charts, shared)
        named = write_rows(folder, _with_thumbnails(rows, made), environment, shared)
    context = index_context(folder, seen, result.summary, charts, result.policy.copy_level)
    write_atomically(folder / PAGE, render_glossary(environment, **shared))
    page = environment.get_template("index.html.jinja").render(**shared, **context, **named)
    write_atomically(folder / "index.html", page)


class _Listed:
    """What is known of all findings before the page of one is written, in their order."""

    def __init__(self, result: AuditResult) -> None:
        order, known = {verdict: place for place, verdict in enumerate(Verdict)}, list[tuple[int, str, str, str]]()
        self.works = ComparedWorks(result.summary.level)
        for finding in result.findings:
            self.works.add(finding)
            replica = finding.best_replica
            closest = "" if isinstance(replica, Skipped) else replica.path
            known.append((order[finding.verdict], finding.path, finding.id, closest))
        places = sorted(range(len(known)), key=lambda place: known[place][:2])
        self.findings = take_findings(result.findings, places)
        self.ids = [known[place][2] for place in places]
        self.names = {known[place][2]: Path(known[place][1]).name for place in places}
        self._closest = [known[place][3] for place in places]

    def pictures(self, run: RunFolder, folder: Path) -> Iterator[tuple[Path | None, Path]]:
        """Yield source and destination of two thumbnails: an image's, and its closest generated image's."""
        for name, closest in zip(self.ids, self._closest, strict=True):
            yield run.image_folder(name) / "target.png", folder / f"{name}-target.jpg"
            yield run.path / closest if closest else None, folder / f"{name}-best.jpg"


def _with_thumbnails(rows: Iterator[dict[str, Any]], made: Iterator[bool]) -> Iterator[dict[str, Any]]:
    """Add to every row whether there are thumbnails."""
    for row in rows:
        yield row | {"target": next(made), "best": next(made)}


def _write_images(
    run: RunFolder,
    folder: Path,
    opened: tuple[OpenFolder, OpenFolder],
    told: tuple[Sequence[Finding], Sequence[str], Seen],
    template: jinja2.Template,
    charts: Charts,
    shared: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Write the page of every image; its row of the index, still without what says whether there are thumbnails.

    opened:  the folder, and the one for charts in it
    told:    the findings in their order, their ids, and what takes note of each
    """
    (pages, drawn), (findings, ids, seen) = opened, told
    measurements, level = RecordIndex(run), shared["result"].summary.level
    # A file that was read and yet not measured has no digest in its finding.
    given = [one for part in ("targets", "skipped") for one in shared["result"].run.get(part, ())]
    digests = {str(one["path"]): str(one.get("sha256", "")) for one in given}
    for place, finding in enumerate(findings):
        measurement = measurements.get(finding.id)
        page = template.render(
            **shared,
            **image_context(run, folder, drawn, finding, measurement, charts),
            decided=find_deciding_number(finding, level),
            known_sha256=digests.get(finding.path, ""),
            place=place + 1,
            previous=ids[place - 1] if place else None,
            following=ids[place + 1] if place + 1 < len(ids) else None,
        )
        write_into(pages, f"{finding.id}.html", page, durable=False)
        seen.add(finding)
        review = _newest(shared["review"], finding.id)
        yield row_of(finding, shared["names"][finding.id], _texts(measurement), review, level)


def _newest(review: ReviewContext, image_id: str) -> str:
    """Return the newest decision on an image; empty without any."""
    decisions = sorted(review.ledger.of_image(image_id), key=lambda decision: decision.made)
    return decisions[-1].decision.value if decisions else ""


def _texts(measurement: Measurement | None) -> list[str]:
    ladder = measurement.rungs.values() if measurement else ()
    return [text for measured in ladder if isinstance(measured, RungMeasurement) for text in measured.texts]
