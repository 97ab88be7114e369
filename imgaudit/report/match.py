"""What was seen of a portfolio among given images, as a page that opens from disk."""

from pathlib import Path
from typing import Any

from imgaudit.exceptions import ImageError
from imgaudit.io.images import load_image
from imgaudit.io.reading import hash_file
from imgaudit.io.writing import write_json, write_png
from imgaudit.report.pages import write_page
from imgaudit.report.pictures import fade_outside
from imgaudit.schema.match import ClosestImage, MatchResult, Seen, TargetMatch
from imgaudit.schema.pairs import Region
from imgaudit.schema.records import Skipped

SHOWN_SIDE = 480
"""Pixels of the longer side of pictures on the page."""

ORDER: tuple[Seen, ...] = ("copy", "partial", "inconclusive", "not seen")
"""Conclusions in the order in which they are shown."""

LABELS = {
    "copy": "Copy",
    "partial": "Partial copy",
    "inconclusive": "Inconclusive",
    "not seen": "Not seen",
}


def write_match(folder: Path, matches: MatchResult, files: dict[str, Path]) -> Path:
    """Write match.json, and report/index.html with its pictures, into FOLDER; return the page.

    files:  of targets and closest images, by id; those that can no longer be read are left out of the page
    """
    write_json(folder / "match.json", matches.model_dump(mode="json"))
    report = folder / "report"
    shown = sorted(matches.targets, key=lambda one: (ORDER.index(one.seen), one.path))
    views = [_view(report, one, files) for one in shown]
    counts = {seen: matches.count(seen) for seen in ORDER}
    # The model is not known: only images that are said to come from it were given.
    foot = [("SHA-256 of match.json", hash_file(folder / "match.json"))]
    return write_page(report, "match.html.jinja", (), foot, matches=matches, views=views, labels=LABELS, counts=counts)


def _view(report: Path, match: TargetMatch, files: dict[str, Path]) -> dict[str, Any]:
    closest = match.closest
    # Where it is found in parts, whatever the portfolio as a whole lets conclude. Pictures that are alike as a whole
    # may have no part in which their local features agree.
    in_parts = match.images and match.by == "parts"
    evidence = closest.evidence if in_parts and isinstance(closest, ClosestImage) else None
    target_region = evidence.region if evidence else None
    image_region = evidence.candidate_region if evidence else None
    return {
        "match": match,
        "faded": evidence is not None,
        "target": _picture(report, match.id, files, target_region),
        "image": "" if isinstance(closest, Skipped) else _picture(report, closest.id, files, image_region, match.id),
    }


def _picture(report: Path, name: str, files: dict[str, Path], region: Region | None, of: str = "") -> str:
    """Write a picture with what does not agree dimmed; its file name, or nothing when it cannot be read."""
    try:
        picture = load_image(files[name]).pixels.convert("RGB")
    except (ImageError, KeyError):
        return ""
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    if region is not None:
        picture = fade_outside(picture, region)
    file_name = f"{of}-{name}.png" if of else f"{name}.png"
    write_png(report / "images" / file_name, picture)
    return file_name
