"""Check the pages of a finished run: render them again from what the run holds, and compare every file of report/."""

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import ValidationError

from imgaudit.exceptions import ImgauditError, InputError, RunFolderError
from imgaudit.io.containment import open_parent
from imgaudit.io.reading import IrregularFileError, open_regular, read_bounded
from imgaudit.io.scratch import find_scratch_folder
from imgaudit.io.writing import MAX_PNG_PIXELS, UNFINISHED, read_json
from imgaudit.report.audit.rendering import RENDERING, Rendering
from imgaudit.report.formats import render_into
from imgaudit.report.review import DecisionLedger
from imgaudit.report.review.context import ReviewContext, review_context
from imgaudit.runs.evidence import EvidenceList, read_evidence
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.verification import Check

NAMED: Final = 50
"""Files that are named one by one; more are counted."""

MOST_FILES: Final = 2_000_000
"""Entries of report/ that are looked at: the pages of some 400,000 images."""

CHUNK: Final = 2**20
"""Bytes that are compared at once."""

PIXEL_TOLERANCE: Final = 8
"""Levels of 255 by which a pixel of a thumbnail may differ. Thumbnails are JPEG, whose bytes and last levels depend on
the version of Pillow; an encoder of the same quality settings stays within a few levels. Set before any comparison."""

LARGEST_RENDERING: Final = 10_000
"""Bytes of report/rendering.json."""

AGAIN: Final = "imgaudit report RUN writes the pages again"


LATER: Final = f"decisions that were saved after the pages in 'report' were written are not on them; {AGAIN}"


@dataclass
class Differences:
    """Files of report/ that are not what rendering gives, by their path inside report/."""

    same: int = 0
    """Number of files that are the same, byte for byte."""
    alike: int = 0
    """Number of pictures with other bytes and the same pixels, within the tolerance."""
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of files that differ."""
        return len(self.changed) + len(self.missing) + len(self.surplus)

    def sentences(self) -> Iterator[str]:
        """Name each file that differs, the first ones of many."""
        said = [
            *(f"{_shown(one)} was changed: what the run holds gives another content" for one in self.changed),
            *(f"{_shown(one)} is missing: what the run holds gives this file" for one in self.missing),
            *(f"{_shown(one)} was added: what the run holds gives no such file" for one in self.surplus),
        ]
        yield from said[:NAMED]
        if len(said) > NAMED:
            yield f"{len(said) - NAMED} more files of 'report' differ; {AGAIN}"


def check_pages(run: RunFolder) -> Check:
    """Render the pages of a finished run into a temporary folder, and compare every file of report/ with them.

    The pages are made from report.json, records.jsonl, the null bank, the pictures and the decisions that were there
    when they were written. Whether report.json itself follows from the measurements is another check.
    Raises RunFolderError when the folder is no finished run.
    """
    result = read_result(run)
    if not _is_folder(run.path / "report"):
        return Check(name="pages", not_done=(f"the run has no folder 'report', so there are no pages: {AGAIN}",))
    try:
        written_by = _read_rendering(run)
        if written_by is None and isinstance(read_evidence(run), EvidenceList):
            return Check(name="pages", problems=(f"'report/{RENDERING}' is missing: {AGAIN}",))
        review = review_context(run, *((written_by.decisions, written_by.history) if written_by else ()))
        with tempfile.TemporaryDirectory(prefix="imgaudit-pages-", dir=find_scratch_folder()) as temporary:
            folder = Path(temporary, "report")
            render_into(folder, run, result, review)
            found = _compare(run.path / "report", folder)
        later = DecisionLedger(run, review.run_id).read_lines().length > review.ledger.length
    except (
        ImgauditError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        jinja2.TemplateError,
    ) as error:
        # Whatever of the run makes rendering fail, the pages that are there cannot have come from it.
        what = f"{type(error).__name__}: {error}"
        return Check(name="pages", problems=(f"'report' cannot be rendered from what the run holds: {what:.500}",))
    check = _conclude(found, written_by, review)
    return check.model_copy(update={"not_done": (*check.not_done, LATER)}) if later else check


def _conclude(found: Differences, written_by: Rendering | None, review: ReviewContext) -> Check:
    """Say what was compared; pages of other code are no sign of an edit."""
    own = Rendering.now(review)
    if written_by is None:
        found.missing = [name for name in found.missing if name != RENDERING]
    elif written_by.code != own.code or written_by.version != own.version:
        found.changed = [name for name in found.changed if name != RENDERING]
        if found.count:
            return Check(name="pages", not_done=(_of_other_code(found, written_by.writer, own.writer),))
    elif written_by.history > review.history.length:
        return Check(name="pages", problems=("'history.jsonl': lines that the pages show were cut off",))
    elif written_by.decisions > review.ledger.length:
        shorter = (
            f"'review/decisions.jsonl' has {review.ledger.length:,} bytes, and had {written_by.decisions:,} when the "
            "pages were written: lines were cut off"
        )
        return Check(name="pages", problems=(shorter, *found.sentences()))
    if written_by is None and found.count:
        return Check(name="pages", not_done=(_of_other_code(found, "an older version of imgaudit", own.writer),))
    done = f"{found.same + found.alike} files in 'report' were rendered again and compared byte for byte"
    if found.alike:
        done += f"; {found.alike} pictures have other bytes and the same pixels, within {PIXEL_TOLERANCE} levels of 255"
    return Check(name="pages", done=done, problems=tuple(found.sentences()))


def _of_other_code(found: Differences, writer: str, own: str) -> str:
    return (
        f"the pages in 'report' were written by {writer}, and this is {own}: {found.count} of their files differ from "
        f"what this version writes, so they show nothing about edits; {AGAIN}"
    )


def _read_rendering(run: RunFolder) -> Rendering | None:
    """Return what the pages say about how they were made; None where they say nothing."""
    path = run.path / "report" / RENDERING
    try:
        with open_parent(path) as folder:
            folder.status(path.name)
    except FileNotFoundError:
        return None
    try:
        return Rendering.model_validate(read_json(path, LARGEST_RENDERING))
    except ValidationError as error:
        raise RunFolderError(f"'report/{RENDERING}' is damaged: {describe_problem(error)}") from error


def _compare(there: Path, rendered: Path) -> Differences:
    """Compare the files of a folder with those that were rendered."""
    found = Differences()
    names = set(_walk(there))
    for name in sorted(_walk(rendered)):
        if name not in names:
            found.missing.append(name)
            continue
        names.remove(name)
        if _same_bytes(there / name, rendered / name):
            found.same += 1
        elif _same_pixels(there / name, rendered / name):
            found.alike += 1
        else:
            found.changed.append(name)
    found.surplus = sorted(names)
    return found


def _walk(folder: Path) -> Iterator[str]:
    """Yield everything below a folder that is no folder itself, by its path inside, without following a link.

    What a kill left of a file that was being written is passed over. Raises RunFolderError for too many entries.
    """
    count = 0
    for parent, folders, files in os.walk(folder, followlinks=False):
        inside = Path(parent).relative_to(folder)
        links = [name for name in folders if not _is_folder(Path(parent, name))]
        for name in (*files, *links):
            count += 1
            if count > MOST_FILES:
                raise RunFolderError(
                    f"'report' has more than {MOST_FILES:,} entries: remove what does not belong there"
                )
            if not UNFINISHED.fullmatch(name):
                yield (inside / name).as_posix()


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _same_bytes(path: Path, expected: Path) -> bool:
    """Compare two files in pieces. What is no regular file, or reached through a link, is the same as nothing."""
    try:
        with open_regular(path) as file, expected.open("rb") as other:
            if os.fstat(file.fileno()).st_size != os.fstat(other.fileno()).st_size:
                return False
            while piece := other.read(CHUNK):
                if file.read(CHUNK) != piece:
                    return False
            return True
    except (IrregularFileError, RunFolderError, OSError):
        return False


def _same_pixels(path: Path, expected: Path) -> bool:
    """Compare two pictures: JPEG within the tolerance, PNG exactly. Anything else differs, as its bytes do."""
    kind, tolerance = {".jpg": ("JPEG", PIXEL_TOLERANCE), ".png": ("PNG", 0)}.get(expected.suffix, ("", 0))
    if not kind:
        return False
    try:
        wanted = expected.read_bytes()
        pixels, other = (_decode(data, kind) for data in (wanted, read_bounded(path, 4 * len(wanted) + CHUNK)))
    except (ImgauditError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return pixels.shape == other.shape and int(np.abs(pixels - other).max(initial=0)) <= tolerance


def _decode(data: bytes, kind: str) -> npt.NDArray[np.int16]:
    """Return the RGB levels of a picture. Raises InputError for one with too many pixels."""
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.width * image.height > MAX_PNG_PIXELS:
            raise InputError(f"has {image.width} x {image.height} pixels")
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def _shown(name: str) -> str:
    return f"{'report/' + name!r:.200}"
