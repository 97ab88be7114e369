"""evidence.json: the SHA-256 of every file of a run, chained; written and read here.

Digests show that a file was changed after evidence.json was written. Whoever changes both leaves another head; so the
head should be kept somewhere else as well, in a letter or a notary's file.

Three kinds of files are listed. What was measured and decided comes first, and `head` is the chain over it: it stays
the same when pages are made again or a reviewer decides. The chain then goes on over the pages, and over the files that
grow by lines, as long as they were; it ends in `complete_head`.

Each link of the chain is SHA-256 over four fields: the link before, the path in UTF-8, the digest, and the number of
bytes as an 8-byte number. Before each field stands its length, as an 8-byte number, highest byte first. So no two
different lists give the same bytes to hash.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from imgaudit.exceptions import RunFolderError
from imgaudit.io.chain import digest_parts
from imgaudit.io.reading import open_regular
from imgaudit.io.writing import MAX_JSON_BYTES, read_json, write_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import list_run
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.records import SLOTTED, Record

EVIDENCE: Final = "evidence.json"

GROWING: Final = ("continued.jsonl", "history.jsonl", "review/decisions.jsonl")
"""Files to which lines are added after the run is finished."""

Section = Literal["files", "pages", "growing"]

_START = b"imgaudit evidence 2"
"""The link before the first one."""

_SHA256 = r"^[0-9a-f]{64}$"

_BLOCK = 2**20


@dataclass(frozen=True, slots=True, kw_only=True, config=SLOTTED)
class EvidenceFile:
    """One file of evidence.json."""

    path: str
    """Path inside the run."""
    sha256: str = Field(pattern=_SHA256)
    """SHA-256 of its first `bytes` bytes."""
    bytes: int = Field(ge=0, lt=2**63)
    """Number of bytes; of a file that grows, as long as it was."""
    chain: str = Field(pattern=_SHA256)
    """Link of the chain."""


class EvidenceList(Record):
    """The content of evidence.json."""

    format: Literal[2] = 2
    """Version of the list."""
    files: tuple[EvidenceFile, ...]
    """What was measured and decided, in order of path."""
    head: str
    """The chain after these."""
    pages: tuple[EvidenceFile, ...]
    """Files in report/, in order of path."""
    growing: tuple[EvidenceFile, ...]
    """Files to which lines are added later, in order of path."""
    complete_head: str
    """The chain after all."""


class FirstEvidenceFile(Record):
    """One file of a list that an earlier version wrote."""

    path: str
    """Path inside the run."""
    sha256: str
    """SHA-256 of the file."""
    chain: str
    """SHA-256 over the chain before, the path and the digest, as one text."""


class FirstEvidenceList(Record):
    """evidence.json as earlier versions wrote it: without pages, review and numbers of bytes."""

    files: tuple[FirstEvidenceFile, ...]
    """Files other than those in report/ and review/, in order of path."""
    head: str
    """The chain of the last file."""


def write_evidence(run: RunFolder) -> None:
    """Write evidence.json over every file of a run; called when all others are written.

    Raises RunFolderError for a link, a FIFO and the like in the run.
    """
    inventory = list_run(run.path)
    if inventory.refused:
        raise RunFolderError(f"{str(run.path)!r} cannot be listed as evidence: {'; '.join(inventory.refused)}")
    names: dict[Section, list[str]] = {"files": [], "pages": [], "growing": []}
    for name in inventory.files:
        if name != EVIDENCE:
            names[find_section(name)].append(name)
    listed = {section: [(name, *hash_beginning(run, name)) for name in names[section]] for section in names}
    files, head = _chain(listed["files"], _START)
    pages, after_pages = _chain(listed["pages"], head)
    growing, complete_head = _chain(listed["growing"], after_pages)
    content = EvidenceList(
        files=files, head=head.hex(), pages=pages, growing=growing, complete_head=complete_head.hex()
    )
    write_json(run.path / EVIDENCE, content.model_dump(mode="json"))


def find_section(path: str) -> Section:
    """Return the part of the list in which a file belongs; its path alone decides.

    >>> find_section("records.jsonl"), find_section("report/index.html"), find_section("review/decisions.jsonl")
    ('files', 'pages', 'growing')
    """
    if path in GROWING:
        return "growing"
    return "pages" if path.startswith("report/") else "files"


def hash_beginning(run: RunFolder, name: str, length: int | None = None) -> tuple[str, int]:
    """Return SHA-256 and number of bytes of a file of the run, or of its first `length` bytes.

    Raises OSError and RunFolderError for what cannot be opened or is no regular file.
    """
    digest, done = hashlib.sha256(), 0
    with open_regular(run.path / name) as file:
        while block := file.read(_BLOCK if length is None else min(_BLOCK, length - done)):
            digest.update(block)
            done += len(block)
    return digest.hexdigest(), done


def read_evidence(run: RunFolder, limit: int = MAX_JSON_BYTES) -> EvidenceList | FirstEvidenceList:
    """Read evidence.json of at most `limit` bytes. Raises RunFolderError when it is missing or damaged."""
    path = run.path / EVIDENCE
    if not path.is_file():
        raise RunFolderError(
            f"{str(run.path)!r} has no evidence.json: it is not a finished run; give the audit's command again to "
            "finish it, or imgaudit report RUN to keep what was measured so far"
        )
    content = read_json(path, limit)
    kind = EvidenceList if isinstance(content, Mapping) and "format" in content else FirstEvidenceList
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise RunFolderError(f"{str(path)!r} is damaged: {describe_problem(error)}") from error


def is_listed(run: RunFolder, name: str) -> bool:
    """Tell whether evidence.json is there, of this version, and names a file of the run as it is now."""
    try:
        listed = read_evidence(run)
        now = hash_beginning(run, name)
    except (OSError, RunFolderError):
        return False
    return isinstance(listed, EvidenceList) and any(
        (one.path, one.sha256, one.bytes) == (name, *now) for one in listed.files
    )


def check_chain(listed: EvidenceList) -> Iterator[str]:
    """Yield what is wrong with a list in itself: its chain, the order of its files, or a file in the wrong part."""
    link, seen = _START, set[str]()
    sections = (("files", listed.files), ("pages", listed.pages), ("growing", listed.growing))
    for section, files in sections:
        for file in files:
            link = _link(link, file.path, file.sha256, file.bytes)
            if link.hex() != file.chain:
                yield f"evidence.json was edited: its chain breaks at {file.path!r:.200}"
                return
            if find_section(file.path) != section or file.path in seen:
                yield f"evidence.json was edited: it lists {file.path!r:.200} twice, or where it does not belong"
                return
            seen.add(file.path)
        if section == "files" and link.hex() != listed.head:
            yield "evidence.json was edited: its head is not the last link of its chain"
            return
    if link.hex() != listed.complete_head:
        yield "evidence.json was edited: its complete_head is not the last link of its chain"


def _chain(files: Iterable[tuple[str, str, int]], link: bytes) -> tuple[tuple[EvidenceFile, ...], bytes]:
    """Return the files, each with its link, and the last link."""
    found = []
    for path, sha256, size in files:
        link = _link(link, path, sha256, size)
        found.append(EvidenceFile(path=path, sha256=sha256, bytes=size, chain=link.hex()))
    return tuple(found), link


def _link(before: bytes, path: str, sha256: str, size: int) -> bytes:
    return bytes.fromhex(digest_parts(before, path, bytes.fromhex(sha256), size.to_bytes(8, "big")))
