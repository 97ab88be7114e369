"""Hostile images, tables, captions and models put to the command line; each must end in one state, and run nothing."""

import csv
import io
import json
import os
import re
import shutil
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from imgaudit.benchmark.robustness.bench import Bench, findings_of_run, visible_problems
from imgaudit.benchmark.robustness.hostile.images import Outcome, make_hostile_images, open_rights
from imgaudit.benchmark.robustness.hostile.models import make_hostile_models
from imgaudit.benchmark.robustness.hostile.texts import hostile_captions, make_hostile_tables
from imgaudit.benchmark.robustness.processes import run_command
from imgaudit.io.reading import format_path
from imgaudit.models.loading import resolve_model

MARKER = "MARKER-9f31c7d2"
"""Planted wherever metadata can stand; must not come out anywhere."""

PLANTED = "PLANTED"
"""Name of the file that hostile content would create if it were run."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


OWN_SCRIPT = re.compile(r"assets/(theme|index|image|decisions|keys)\.js|data/(labels|images-[0-9]{4,})\.js")
OWN_FORMS = ("filters", "decision-form")
OWN_DRAWING = "The owner's picture, with the part that was examined"
"""What the pages themselves load and ask for."""


class _Foreign(HTMLParser):
    """Markup that the templates never write: it can only come from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        """Tags and attributes, as they stand."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script" and not OWN_SCRIPT.fullmatch(values.get("src") or ""):
            self.found.append("script")
        if tag in {"iframe", "object", "embed", "base"}:
            self.found.append(tag)
        if tag == "svg" and values.get("aria-label") != OWN_DRAWING:
            self.found.append(tag)
        if tag == "form" and values.get("id") not in OWN_FORMS and values.get("method") != "dialog":
            self.found.append(tag)
        for name, value in attrs:
            outside = (value or "").strip().lower().startswith(("javascript:", "http:", "https:", "data:", "//"))
            if name.startswith("on") or name == "style" or (name in {"href", "src"} and outside):
                self.found.append(f"{tag} {name}")


def report_problems(run: Path, marker: str = MARKER) -> list[str]:
    """List what hostile input has brought into a run folder: markup, formulas, metadata, links out of it."""
    problems = []
    for page in sorted((run / "report").glob("*.html")):
        parser = _Foreign()
        parser.feed(page.read_text(encoding="utf-8"))
        problems += [f"{page.name}: foreign {one}" for one in parser.found]
    table = run / "report" / "findings.csv"
    rows = list(csv.reader(io.StringIO(table.read_text(encoding="utf-8")))) if table.is_file() else []
    problems += [
        f"formula in the CSV: {cell[:40]!r}" for row in rows for cell in row if cell.startswith(FORMULA_STARTS)
    ]
    for path in run.rglob("*"):
        if path.is_symlink():
            problems.append(f"a link in the run folder: {path.name}")
        elif path.is_file() and marker.encode() in path.read_bytes():
            problems.append(f"metadata of the image in {path.relative_to(run)}")
    return problems


def executed(bench: Bench, *more: Path) -> list[str]:
    """Files that only hostile content could have made."""
    found = [*bench.folder.rglob(PLANTED), *(folder / PLANTED for folder in (Path.cwd(), *more))]
    return [f"executed: {path} is there" for path in found if path.exists()]


def audit_hostile_images(bench: Bench, each: int | None = None) -> None:
    """One folder with every kind of file; each that is listed ends as measured or as skipped with a reason.

    each:  as in `make_hostile_images`
    """
    place = bench.place("images")
    folder, run = place / "folder", place / "run"
    folder.mkdir()
    files = make_hostile_images(folder, MARKER, each)
    try:
        ended = run_command(bench.audit(folder, run), place / "output", timeout=3000)
    finally:
        open_rights(folder)
    problems = visible_problems(ended, (1, 3)) + report_problems(run) + executed(bench)
    findings = {finding["path"]: finding for finding in findings_of_run(run)}
    for number, file in enumerate(files):
        finding = findings.pop(format_path(file.path), None)
        skipped = finding is not None and finding["verdict"] == "skipped"
        state = "not listed" if finding is None else "skipped" if skipped else "measured"
        wanted = {
            Outcome.MEASURED: {"measured"}, Outcome.SKIPPED: {"skipped"}, Outcome.UNLISTED: {"not listed"},
            Outcome.EITHER: {"measured", "skipped"},
        }[file.expected]  # fmt: skip
        own = [] if state in wanted else [f"{format_path(file.path)!r} is {state}, not {file.expected.value}"]
        if finding is not None and skipped and not finding["reason"].removeprefix("Not measured: ").strip("."):
            own.append(f"{format_path(file.path)!r} is skipped without a reason")
        bench.recorder.count("images", file.kind, state, own + (problems if number == 0 else []))
    if findings:
        lost = [f"a finding without a file: {path!r}" for path in findings]
        bench.recorder.count("images", "findings without a file", "lost", lost)
    shutil.rmtree(place, ignore_errors=True)


def read_hostile_tables(bench: Bench) -> None:
    """Caption tables, each given to an audit that only plans."""
    targets, _ = bench.portfolio()
    names = sorted(path.name for path in targets.glob("*.png"))
    place = bench.place("tables")
    for table in make_hostile_tables(place / "tables", names):
        # The plan for a model that would have to be fetched: it loads and times none, and reads the table all the same.
        arguments = bench.audit(targets, place / "run", "--captions", table.path, "--dry-run")
        arguments[arguments.index("--model") + 1] = "nobody/nothing"
        ended = run_command(arguments, place / "output", timeout=120)
        problems = visible_problems(ended, (2,) if table.refused else (0,)) + executed(bench)
        if table.refused and len(ended.stderr.strip()) < 20:
            problems.append("refused without a reason")
        state = "used" if ended.code == 0 else "refused" if ended.code == 2 else f"exit {ended.code}"
        bench.recorder.count("texts", "caption table", state, [f"{table.kind}: {one}" for one in problems])
    shutil.rmtree(place, ignore_errors=True)


def audit_hostile_captions(bench: Bench) -> None:
    """Captions that somebody wants to be run, drawn or followed, through audit, report, CSV and Markdown."""
    captions = hostile_captions()
    place = bench.place("captions")
    folder, run = place / "folder", place / "run"
    folder.mkdir()
    source = next(iter(sorted(bench.portfolio()[0].glob("*.png"))))
    lines = []
    for number, caption in enumerate(captions):
        # A byte after the image's end makes it another file with the same picture.
        (folder / f"{number:02d}.png").write_bytes(source.read_bytes() + bytes([number]))
        lines.append(json.dumps({"file_name": f"{number:02d}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ended = run_command(bench.audit(folder, run), place / "output", timeout=3000)
    problems = visible_problems(ended, (1, 3)) + report_problems(run) + executed(bench)
    for kind in ("csv", "markdown", "json"):
        shown = run_command(["report", run, "--format", kind], place / kind)
        problems += visible_problems(shown, (0, 3))
    findings = {Path(finding["path"]).name: finding["verdict"] for finding in findings_of_run(run)}
    for number in range(len(captions)):
        state = findings.get(f"{number:02d}.png", "lost")
        own = [f"caption {number} is {state}"] if state in {"lost", "skipped"} else []
        measured = "measured" if not own else state
        bench.recorder.count("texts", "caption", measured, own + (problems if number == 0 else []))


def refuse_hostile_models(bench: Bench, each: int | None = None) -> None:
    """Damaged and hostile model folders: each refused with exit code 4 and a reason.

    each:  models of each kind; None for all
    """
    targets, _ = bench.portfolio()
    place, met = bench.place("models"), Counter[str]()
    for model in make_hostile_models(resolve_model(bench.model), place / "models", place / PLANTED):
        met[model.kind] += 1
        if each is not None and met[model.kind] > each:
            continue
        arguments = bench.audit(targets, place / "run")
        arguments[arguments.index("--model") + 1] = model.path
        ended = run_command(arguments, place / "output", timeout=300)
        problems = visible_problems(ended, (4,)) + executed(bench, place)
        if "model refused: " not in " ".join(ended.stderr.split()):
            problems.append("refused without a reason")
        state = "refused" if ended.code == 4 else f"exit {ended.code}"
        bench.recorder.count("models", model.kind, state, [f"{model.name}: {one}" for one in problems])
    shutil.rmtree(place, ignore_errors=True)


def noting_connections() -> None:
    """Setup: every attempt to open a connection or to look a name up is written to a file beside the cache folder."""
    path = Path(os.environ["XDG_CACHE_HOME"]).with_name("connections")
    path.touch()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"}:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{event} {arguments[1:]!r}\n")

    sys.addaudithook(hook)


def stay_offline(bench: Bench) -> None:
    """A local model with and without --offline, a hub id with it: no connection is tried, and the hub's is refused."""
    targets, controls = bench.portfolio()
    cases: list[tuple[str, list[object], tuple[int, ...]]] = [
        ("local model, --offline", ["--controls", controls, "--offline"], (0, 1, 3)),
        ("local model", ["--controls", controls], (0, 1, 3)),
        ("model of a hub, --offline", ["--model", "nobody/nothing", "--offline"], (4,)),
    ]
    for kind, more, codes in cases:
        place = bench.place("network")
        ended = run_command(bench.audit(targets, place / "run", *more), place / "output", noting_connections)
        problems = visible_problems(ended, codes)
        tried = (place / "output" / "connections").read_text(encoding="utf-8").splitlines()
        problems += [f"a connection was tried: {line[:200]}" for line in tried]
        bench.recorder.count("network", kind, f"{len(tried)} connections tried", problems)
