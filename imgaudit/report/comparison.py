"""A comparison of two runs as a page that opens from disk, as JSON and as Markdown; all from the same Comparison."""

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from imgaudit.exceptions import InputError
from imgaudit.io.containment import contain
from imgaudit.io.reading import hash_file
from imgaudit.io.writing import remove_file, write_atomically, write_png
from imgaudit.report.formats import markdown_text
from imgaudit.report.pages import write_page
from imgaudit.report.pictures import read_picture
from imgaudit.report.wording import CHANGE_WORDING, RUNG_WORDING, WORDING
from imgaudit.runs.comparison.retention import retention_text
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.comparison import CHANGED, Change, Comparison, DifferenceEffect, ImageComparison, ImageSide
from imgaudit.schema.findings import Verdict
from imgaudit.schema.records import Skipped

_OWN_PICTURE = re.compile(r"[0-9a-f]{16}-(target|a|b)\.png")

EFFECT_WORDING: dict[DifferenceEffect, str] = {
    DifferenceEffect.PREVENTS: "prevents the comparison",
    DifferenceEffect.MAY_EXPLAIN: "may explain changes",
    DifferenceEffect.NOTED: "for the record",
}


class ComparisonFormat(enum.StrEnum):
    """Formats that `imgaudit compare` can write besides its table."""

    HTML = "html"
    JSON = "json"
    MARKDOWN = "markdown"


class ShownPicture(NamedTuple):
    """A picture beside the page, or why there is none."""

    name: str
    """File name; empty when there is none."""
    missing: str
    """Reason that there is no picture; empty when there is one."""


class ImageView(NamedTuple):
    """An image as the page shows it."""

    image: ImageComparison
    """Comparison of the two runs on this image."""
    target: ShownPicture
    """The image itself, at a model's size."""
    a: ShownPicture
    """Closest generated image of run A."""
    b: ShownPicture
    """Closest generated image of run B."""


def render_comparison(comparison: Comparison, kind: ComparisonFormat) -> str:
    """Return a text format as a string. Raises ValueError for HTML, which is a folder."""
    if kind is ComparisonFormat.JSON:
        return comparison.model_dump_json(indent=2) + "\n"
    if kind is ComparisonFormat.MARKDOWN:
        return "\n".join(_markdown(comparison)) + "\n"
    raise ValueError("HTML is a folder: use write_comparison")


def write_comparison(folder: Path, comparison: Comparison, a: RunFolder, b: RunFolder) -> Path:
    """Write index.html with its pictures, and comparison.json; return the page.

    Raises InputError when the folder holds anything but a comparison, or lies in one of the runs, which are evidence.
    """
    _require_own_folder(folder, (a, b))
    contain(folder)
    for old in (folder / "images").glob("*.png"):
        if _OWN_PICTURE.fullmatch(old.name):
            remove_file(old)
    write_atomically(folder / "comparison.json", render_comparison(comparison, ComparisonFormat.JSON))
    views = [_view(image, folder / "images", a, b) for image in comparison.images]
    foot = [
        ("SHA-256 of comparison.json", hash_file(folder / "comparison.json")),
        ("Model of run A", comparison.a.fingerprint),
        ("Model of run B", comparison.b.fingerprint),
    ]
    return write_page(
        folder, "comparison.html.jinja", (), foot, comparison=comparison,
        changed=[view for view in views if view.image.change in CHANGED],
        unchanged=[view for view in views if view.image.change is Change.UNCHANGED],
        left_out=[view for view in views if view.image.change is Change.NOT_COMPARABLE],
        retention=retention_text(comparison.retention), wording=CHANGE_WORDING, verdicts=WORDING,
        rungs=RUNG_WORDING, effects=EFFECT_WORDING,
    )  # fmt: skip


def _require_own_folder(folder: Path, runs: tuple[RunFolder, RunFolder]) -> None:
    resolved = folder.resolve()
    for run in runs:
        if resolved.is_relative_to(run.path.resolve()):
            raise InputError(
                f"{str(folder)!r} lies in the run {str(run.path)!r}, which is evidence; choose another --out"
            )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file; choose another --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "comparison.json").is_file():
        raise InputError(f"{str(folder)!r} is not empty and not a comparison; choose another --out")


def _view(image: ImageComparison, folder: Path, a: RunFolder, b: RunFolder) -> ImageView:
    name = image.sha256[:16]
    nothing = ShownPicture("", "the file could not be read")
    if not name:
        return ImageView(image, nothing, nothing, nothing)
    target = nothing
    for run in (a, b):
        if not target.name:
            target = _copy(run, f"images/{name}/target.png", folder / f"{name}-target.png")
    if image.change not in CHANGED:
        left_out = ShownPicture("", "not shown")
        return ImageView(image, target, left_out, left_out)
    return ImageView(
        image, target, _replica(image.a, a, folder / f"{name}-a.png"), _replica(image.b, b, folder / f"{name}-b.png")
    )


def _replica(side: ImageSide | Skipped, run: RunFolder, to: Path) -> ShownPicture:
    if isinstance(side, Skipped):
        return ShownPicture("", side.skipped)
    if isinstance(side.best_replica, Skipped):
        return ShownPicture("", side.best_replica.skipped)
    return _copy(run, side.best_replica.path, to)


def _copy(run: RunFolder, path: str, to: Path) -> ShownPicture:
    # What is copied is pixels and nothing else.
    try:
        _, image = read_picture(run, path)
    except InputError as error:
        return ShownPicture("", f"{path} {error}")
    write_png(to, image)
    return ShownPicture(to.name, "")


def _markdown(comparison: Comparison) -> Iterator[str]:
    a, b = comparison.a, comparison.b
    yield f"# What changed from {markdown_text(a.model)} to {markdown_text(b.model)}"
    yield ""
    for name, run in (("A", a), ("B", b)):
        yield (
            f"- Run {name}: {markdown_text(run.folder)}, model {markdown_text(run.model)} "
            f"{markdown_text(run.fingerprint[:16])}, seed {run.seed}, {run.controls} controls, "
            f"started {markdown_text(run.started)}"
        )
    if comparison.same_model:
        yield "- **Same model in both runs: no change below comes from the model.**"
    yield from ("", "## What differs besides the model", "")
    for one in comparison.differences:
        yield f"- **{EFFECT_WORDING[one.effect]}**, {one.subject}: {markdown_text(one.message)}"
    if not comparison.differences:
        yield "No difference that the runs record."
    yield from ("", "## Outcome", "", f"**{markdown_text(retention_text(comparison.retention))}**", "")
    yield from (f"- {CHANGE_WORDING[change].label}: {count}" for change, count in comparison.counts.items() if count)
    yield f"- Images in A or B: {comparison.total}, of which {comparison.matched} are in both"
    yield ""
    yield "| change | file | verdict A | verdict B | q | in words |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for image in comparison.images:
        verdicts = " | ".join(verdict_text(side) for side in (image.a, image.b))
        q = "not compared" if isinstance(image.q_value, Skipped) else f"{image.q_value:.3g}"
        name, reason = markdown_text(image.name), markdown_text(image.reason)
        yield f"| {image.change.value} | {name} | {verdicts} | {q} | {reason} |"
    yield from ("", markdown_text(comparison.test), "", "What each state does not say:", "")
    yield from (
        f"- {CHANGE_WORDING[c].label}: {CHANGE_WORDING[c].limit}" for c, count in comparison.counts.items() if count
    )


def verdict_text(side: ImageSide | Skipped) -> str:
    """Return a verdict in one word, with the rung where there is one."""
    if isinstance(side, Skipped):
        return "not in this run"
    if isinstance(side.rung, Skipped) or side.verdict in (Verdict.SKIPPED, Verdict.INCONCLUSIVE):
        return side.verdict.value
    return f"{side.verdict.value} ({side.rung.value})"
