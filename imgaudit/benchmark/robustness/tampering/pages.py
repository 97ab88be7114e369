"""Edits of report/: what a reader sees, while what was measured stays as it is."""

import json
import shutil
from pathlib import Path

from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun
from imgaudit.report.audit.rendering import RENDERING
from imgaudit.schema.findings import Verdict

BEFORE, AFTER = Verdict.NOT_REPRODUCED, Verdict.REPLICATED


def _rewrite_pages(run: EditedRun) -> None:
    """Make every page say "Replicated from text" where it said "Not reproduced"."""
    for page in sorted((run.path / "report").glob("*.html")):
        text = page.read_text(encoding="utf-8")
        if BEFORE.label in text:
            run.replace_text(f"report/{page.name}", BEFORE.label, AFTER.label)


def _rewrite_one_page(run: EditedRun) -> None:
    run.replace_text(f"report/{run.verdicts(BEFORE)[0]}.html", BEFORE.label, AFTER.label)


def _rewrite_index(run: EditedRun) -> None:
    run.replace_text("report/index.html", BEFORE.label, AFTER.label)


def _rewrite_rows(run: EditedRun) -> None:
    run.replace_text("report/data/images-0001.js", f'"{BEFORE}"', f'"{AFTER}"')


def _rewrite_labels(run: EditedRun) -> None:
    run.replace_text("report/data/labels.js", BEFORE.label, AFTER.label)


def _rewrite_table(run: EditedRun) -> None:
    run.replace_text("report/findings.csv", f",{BEFORE},", f",{AFTER},")


def _rewrite_summary(run: EditedRun) -> None:
    run.replace_text("report/summary.md", f"| {BEFORE} |", f"| {AFTER} |")


def _hide_by_style(run: EditedRun) -> None:
    run.name("report/assets/index.css")
    with (run.path / "report" / "assets" / "index.css").open("a", encoding="utf-8") as file:
        file.write("\ntr:nth-child(2) { display: none }\n")


def _change_script(run: EditedRun) -> None:
    run.name("report/assets/index.js")
    with (run.path / "report" / "assets" / "index.js").open("a", encoding="utf-8") as file:
        file.write("\ndocument.title = 'Replicated';\n")


def _swap(run: EditedRun, pattern: str) -> None:
    first, second = sorted((run.path / "report").glob(pattern))[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    run.name(*(path.relative_to(run.path).as_posix() for path in (first, second)))


def _swap_charts(run: EditedRun) -> None:
    _swap(run, "charts/*-null.svg")


def _swap_thumbnails(run: EditedRun) -> None:
    _swap(run, "thumbs/*-target.jpg")


def _delete_page(run: EditedRun) -> None:
    name = f"report/{run.verdicts(BEFORE)[0]}.html"
    (run.path / name).unlink()
    run.name(name)


def _add_page(run: EditedRun) -> None:
    shutil.copy(run.path / "report" / "index.html", run.path / "report" / "conclusion.html")
    run.name("report/conclusion.html")


def _delete_pages(run: EditedRun) -> None:
    shutil.rmtree(run.path / "report")
    run.name("report")


def _delete_rendering(run: EditedRun) -> None:
    _rewrite_pages(run)
    (run.path / "report" / RENDERING).unlink()
    run.name(f"report/{RENDERING}")


def _hide_a_decision(run: EditedRun) -> None:
    """Make the pages of reviewed images show no decision, as before anybody decided."""
    run.name("report")
    ledger = run.path / "review" / "decisions.jsonl"
    decided = {json.loads(line)["image_id"] for line in ledger.read_text(encoding="utf-8").splitlines()}
    for name in decided:
        page = run.path / "report" / f"{name}.html"
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("Reviewer One", "").replace("As I see it.", ""), encoding="utf-8")


def _claim_other_version(run: EditedRun) -> None:
    """Rewrite the pages, and say that another version of the program wrote them."""
    _rewrite_pages(run)
    place = Path("report") / RENDERING
    rendering = json.loads((run.path / place).read_text(encoding="utf-8"))
    run.write(place.as_posix(), rendering | {"version": "0.0.1", "code": "0" * 16})


EDITS = (
    Edit("every page says replicated", _rewrite_pages),
    Edit("the page of one image says replicated", _rewrite_one_page),
    Edit("the index says replicated", _rewrite_index),
    Edit("the rows of the index say replicated", _rewrite_rows),
    Edit("the labels of verdicts exchanged", _rewrite_labels),
    Edit("a verdict in findings.csv", _rewrite_table),
    Edit("a verdict in summary.md", _rewrite_summary),
    Edit("a style that hides a row", _hide_by_style),
    Edit("a script of the pages", _change_script),
    Edit("charts of two images exchanged", _swap_charts),
    Edit("thumbnails of two images exchanged", _swap_thumbnails),
    Edit("a page deleted", _delete_page),
    Edit("a page added", _add_page),
    Edit("all pages deleted", _delete_pages, (Attacker.LEAVES,)),
    Edit("pages rewritten, their record deleted", _delete_rendering),
    Edit("decisions taken off the pages", _hide_a_decision),
    Edit("pages rewritten, another version claimed", _claim_other_version, (Attacker.LEAVES,), (Attacker.LISTS,)),
)
"""Edits of pages."""
