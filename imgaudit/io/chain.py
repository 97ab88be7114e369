"""Files that only grow, one record a line, each line linked to the line before it.

A line's link is the SHA-256 of the link before and of the line's own record; the first link is bound to where the file
belongs, such as a run's id. So a line that was removed, edited, moved or put in between breaks the link of the next
line that has one. Lines that are cut off at the end leave a sound chain: only a length and digest kept elsewhere, such
as in evidence.json, show that. Whoever has this program can also link a whole file again.

Every part that is hashed has its length in front of it: otherwise the end of one part could be moved to the beginning
of the next without changing the digest.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import append_lines, format_record, read_line

LINK: Final = "link"
"""Field of a line that holds its link."""

CUT: Final = "was cut by a kill, or is damaged: it counts for nothing"
"""What is wrong with a line that is no whole JSON. A kill can leave one, and the next line is linked to it."""

EDITED: Final = "was edited: its checksum is not that of its content"
"""What is wrong with a whole line of JSON that is no record. No kill leaves one."""

MOST_LINES: Final = 200_000
"""Lines of a file that are read, empty ones included."""

LONGEST_LINE: Final = 2**20
"""Bytes of a line; a longer one is damaged."""

LINK_MISSING: Final = "has no link, but an earlier line has: it was put in, or written by an older version"
"""What is wrong with a line without a link behind one that has a link."""

DOES_NOT_FOLLOW: Final = "does not follow the line before: a line was removed, edited, moved or put in"
"""What is wrong with a line whose link is not made from the line before and its own record."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def digest_parts(*parts: str | bytes) -> str:
    """Return the SHA-256 of parts, each with its length in front of it as eight bytes; text is taken as UTF-8.

    >>> digest_parts("ab", "c") == digest_parts("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", errors="surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def first_link(*origin: str) -> str:
    """Return the link that a file starts from, before its first line.

    origin:  where the file belongs, such as ("decisions", run id): lines of another file do not fit
    """
    return digest_parts("imgaudit chain", *origin)


def next_link(link: str, record: dict[str, Any]) -> str:
    """Return the link of a line with this record, whose line before has the given link."""
    return digest_parts(link, "record", format_record(record))


@dataclass(frozen=True)
class ChainedLine:
    """One line of a chained file."""

    number: int
    """Number of the line, from 1 on."""
    record: dict[str, Any] | None
    """What the line records, without its link; None for a line that is damaged or was cut by a kill."""
    link: str
    """The link that the next line continues: the one that the line has, or else the one that it would have."""
    has_link: bool
    """True when the line has a link: lines of versions before links have none."""
    problem: str
    """Reason that the line does not fit the one before, as the end of "line 3 ..."; empty when it fits."""


@dataclass(frozen=True)
class ChainedFile:
    """A chained file as it was read."""

    lines: tuple[ChainedLine, ...]
    """Every line that is not empty, oldest first."""
    origin_link: str
    """The link before the first line."""
    length: int
    """Bytes that were read."""
    ends_whole: bool
    """True when the last line ends with a line break, or there is none."""

    @property
    def link(self) -> str:
        """The link that the next line continues."""
        return self.lines[-1].link if self.lines else self.origin_link

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of all lines that can be read, oldest first."""
        return [line.record for line in self.lines if line.record is not None]

    @property
    def without_link(self) -> int:
        """Number of readable lines at the beginning that have no link: nothing shows whether one was removed there."""
        linked = next((place for place, line in enumerate(self.lines) if line.has_link), len(self.lines))
        return sum(line.record is not None for line in self.lines[:linked])

    @property
    def cut(self) -> list[ChainedLine]:
        """Lines that a kill can have left: they count for nothing, and are no sign of an edit."""
        # A line that was cut off by a kill has no line break until the next line is appended.
        return [line for line in self.lines if line.problem == CUT and not (line is self.lines[-1] and self.ends_whole)]

    def problems(self) -> Iterator[str]:
        """Yield every line that was edited or does not fit the one before, as "line 3 ..."; without those in `cut`."""
        expected = {line.number for line in self.cut}
        for line in self.lines:
            if line.problem and line.number not in expected:
                yield f"line {line.number} {line.problem}"


def parse_chained(content: bytes, origin: Sequence[str]) -> ChainedFile:
    """Return the lines of a chained file, each compared with the one before it. A damaged line stops nothing.

    Raises InputError for too many lines, whose message completes the sentence "the file ...".

    >>> parse_chained(b"", ["decisions", "0123456789abcdef"]).lines
    ()
    """
    if (count := content.count(b"\n")) > MOST_LINES:
        raise InputError(f"has {count:,} lines; at most {MOST_LINES:,} are read")
    start = link = first_link(*origin)
    lines = list[ChainedLine]()
    linked = False
    for number, text in enumerate(content.split(b"\n"), start=1):
        if text.strip():
            line = _parse_line(number, text, link, linked=linked)
            lines.append(line)
            link, linked = line.link, linked or line.has_link
    return ChainedFile(tuple(lines), start, len(content), not content or content.endswith(b"\n"))


def read_chained(path: Path, origin: Sequence[str], limit: int, length: int | None = None) -> ChainedFile:
    """Read a chained file of at most `limit` bytes; one that is not there has no lines.

    length:  bytes to read, as of a time when the file was so long; all of it by default
    Raises RunFolderError that names the file when it is a link, no regular file, too large, or has too many lines.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return parse_chained(b"", origin)
    except OSError as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    try:
        return parse_chained(read_bounded(path, limit, follow_links=False)[:length], origin)
    except InputError as error:
        raise RunFolderError(f"{str(path)!r} {error}") from error


def append_chained(path: Path, origin: Sequence[str], records: Sequence[dict[str, Any]], limit: int) -> None:
    """Append records, each linked to the line before, and wait until all of them are on disk.

    The caller holds the lock of the file's folder, so that no other process appends at the same time. A line that does
    not fit is no reason to stop: it stays where it is, and reading says so.
    origin, limit:  as in `read_chained`
    Raises RunFolderError as `read_chained` does, ValueError for a record that has a link already.
    """
    link = read_chained(path, origin, limit).link
    linked = []
    for record in records:
        if LINK in record:
            raise ValueError(f"expected a record without {LINK!r}, but got one with it")
        link = next_link(link, record)
        linked.append(record | {LINK: link})
    append_lines(path, linked)


def _parse_line(number: int, text: bytes, before: str, *, linked: bool) -> ChainedLine:
    """Return one line.

    before:  the link of the line before
    linked:  whether an earlier line has a link, so that this one must have one too
    """
    record = read_line(text) if len(text) <= LONGEST_LINE else None
    if record is None:
        # Its bytes are covered by the next line's link: what a kill left cannot be removed either.
        problem = EDITED if _is_json(text) else CUT
        return ChainedLine(number, None, digest_parts(before, "damaged", text), has_link=False, problem=problem)
    given = record.pop(LINK, None)
    expected = next_link(before, record)
    if given is None:
        problem = (
            "has no link, but an earlier line has: it was put in, or written by an older version" if linked else ""
        )
        return ChainedLine(number, record, expected, has_link=False, problem=problem)
    if not isinstance(given, str) or not _DIGEST.fullmatch(given):
        return ChainedLine(number, record, expected, has_link=True, problem="has a link that is not a SHA-256")
    problem = (
        "" if given == expected else "does not follow the line before: a line was removed, edited, moved or put in"
    )
    # What follows is compared with the line as it is, so that one edit is named once.
    return ChainedLine(number, record, given, has_link=True, problem=problem)


def _is_json(text: bytes) -> bool:
    if len(text) > LONGEST_LINE:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
