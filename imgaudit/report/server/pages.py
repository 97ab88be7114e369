"""Which files of a run are served: pages, their pictures and nothing else, by names that lead nowhere else."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.containment import contain
from imgaudit.io.reading import read_bounded
from imgaudit.report.page_data import is_data_script
from imgaudit.report.pages import read_asset
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import require_whole

LARGEST_FILE = 64 * 2**20
"""Bytes."""

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
"""Content types of files below report/, by suffix; below images/ there are pictures alone."""

PICTURES = {".png", ".webp"}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of a served page: that of the page on disk, and connections to this server."""

# No part begins with a dot, so none is "..", hidden or a lock; no escape is left to decode.
_PATH = re.compile(r"/(report|images)((?:/[A-Za-z0-9][A-Za-z0-9._+-]*)+)")

_OWN_POLICY = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="[^"]*">')


class NotServedError(Exception):
    """A file that is not served, with the status that says so."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Page:
    """A file as it is sent."""

    content: bytes
    content_type: str


class Pages:
    """The files of one run.

    Raises RunFolderError when there are no pages, or they bring scripts that are not this version's.
    """

    def __init__(self, run: RunFolder) -> None:
        # Resolved once: what is above the run may be a link, what is inside may not.
        self.root = run.path.resolve()
        contain(self.root)
        if not (self.root / "report" / "index.html").is_file():
            if run.manifest_path.is_file():
                require_whole(run)
            raise RunFolderError(f"{str(run.path)!r} has no report/index.html; imgaudit report writes it")
        for script in sorted((self.root / "report").rglob("*.js")):
            if not _is_own(script):
                raise RunFolderError(
                    f"{str(script)!r} is not a script of this version of imgaudit, and scripts of others are not "
                    "served; write the pages again with imgaudit report"
                )

    def read(self, path: str) -> Page:
        """Read the file at the path of an address. Raises NotServedError."""
        matched = _PATH.fullmatch(path)
        suffix = Path(path).suffix.lower()
        allowed = PICTURES if matched and matched[1] == "images" else CONTENT_TYPES.keys()
        if not matched or suffix not in allowed:
            raise NotServedError(HTTPStatus.NOT_FOUND, "only pages and pictures of the run are served")
        file = self.root / path[1:]
        try:
            # Resolving finds links in any part of the path, also those that stay inside.
            if file.resolve(strict=True) != file:
                raise NotServedError(HTTPStatus.FORBIDDEN, "links are not served")
            if file.stat().st_nlink > 1:
                raise NotServedError(
                    HTTPStatus.FORBIDDEN,
                    "this file has another name elsewhere (a hard link), so it may not be the run's: put a copy in its "
                    "place",
                )
            content = read_bounded(file, LARGEST_FILE, follow_links=False)
        except (OSError, RuntimeError) as error:
            raise NotServedError(HTTPStatus.NOT_FOUND, "there is no such file in the run") from error
        except InputError as error:
            raise NotServedError(HTTPStatus.NOT_FOUND, f"the file {error}") from error
        if suffix == ".js" and not _is_ours(file.name, content):
            raise NotServedError(HTTPStatus.FORBIDDEN, "this script is not one of this version of imgaudit")
        if suffix == ".html":
            # A page's own policy, made for disks, forbids every connection; the header's takes its place.
            content = _OWN_POLICY.sub(b"", content, count=1)
        return Page(content, CONTENT_TYPES[suffix])


def _is_own(script: Path) -> bool:
    try:
        return _is_ours(script.name, read_bounded(script, LARGEST_FILE, follow_links=False))
    except InputError:
        return False


def _is_ours(name: str, content: bytes) -> bool:
    """Return whether a script belongs to this version, or only hands values over."""
    return content == read_asset(name) or is_data_script(content)
