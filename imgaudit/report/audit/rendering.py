"""report/rendering.json: which version of imgaudit wrote the pages of a run, and which decisions they show.

`imgaudit verify` renders the pages again and compares them byte for byte. That is possible with the same code and the
same decisions alone.
"""

import hashlib
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from typing import Final, Self

from pydantic import Field

from imgaudit.report.review.context import ReviewContext
from imgaudit.schema.records import Record

RENDERING: Final = "rendering.json"
"""Name of the file in RUN/report."""

WRITING_CODE: Final = ("", "audit", "review", "templates")
"""Folders of imgaudit.report whose files decide what is on a page."""


class Rendering(Record):
    """The content of report/rendering.json."""

    version: str = Field(max_length=40)
    """Version of imgaudit."""
    code: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First 16 hex digits of the SHA-256 of the code and templates that write pages: they can change within a
    version."""
    decisions: int = Field(ge=0)
    """Bytes at the beginning of review/decisions.jsonl that the pages show."""
    history: int = Field(0, ge=0)
    """The same of history.jsonl; 0 in pages of versions that did not show it."""

    @classmethod
    def now(cls, review: ReviewContext) -> Self:
        """Return what this installation writes about pages that show the given decisions."""
        return cls(
            version=metadata.version("imgaudit"),
            code=hash_writing_code(),
            decisions=review.ledger.length,
            history=review.history.length,
        )

    @property
    def writer(self) -> str:
        """What wrote the pages, in words."""
        return f"imgaudit {self.version} (pages {self.code})"


@cache
def hash_writing_code() -> str:
    """Return the first 16 hex digits of the SHA-256 of the code and templates that write pages."""
    package = resources.files("imgaudit.report")
    digest = hashlib.sha256()
    for folder in WRITING_CODE:
        place = package / folder if folder else package
        for file in sorted(place.iterdir(), key=lambda one: one.name):
            if file.is_file() and not file.name.endswith(".pyc"):
                digest.update(_hash_entry(folder, file))
    return digest.hexdigest()[:16]


def _hash_entry(folder: str, file: Traversable) -> bytes:
    # Both digests have a fixed length, so no two lists of files give the same bytes.
    name = hashlib.sha256(f"{folder}/{file.name}".encode()).digest()
    return name + hashlib.sha256(file.read_bytes()).digest()
