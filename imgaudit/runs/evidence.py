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
import json
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final, Literal, TypeVar, overload

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.chain import digest_parts
from imgaudit.io.json_stream import format_list, read_json_in_pieces
from imgaudit.io.reading import FolderReader, open_bounded
from imgaudit.io.writing import MAX_JSON_BYTES, MAX_PIECES_BYTES, read_json, write_atomically
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import FileSizes, list_run
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.records import SLOTTED, Record

EVIDENCE: Final = "evidence.json"

GROWING: Final = ("continued.jsonl", "history.jsonl", "review/decisions.jsonl")
"""Files to which lines are added after the run is finished."""

Section = Literal["files", "pages", "growing"]

Kind = TypeVar("Kind")

_START = b"imgaudit evidence 2"
"""The link before the first one."""

_SHA256 = r"^[0-9a-f]{64}$"

_BLOCK = 2**20

_ENTRY = '{{\n  "path": {},\n  "sha256": "{}",\n  "bytes": {},\n  "chain": "{}"\n}}\n'
"""A file as `format_json` writes it: a run has so many that each is put together by hand."""

_quote = json.JSONEncoder(ensure_ascii=False).encode

_BEGINNING = re.compile(rb'\s*\{\s*"format"\s*:')
"""How every evidence.json begins that names its format."""

_LONGEST_BEGINNING = 100


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=SLOTTED)
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


class FileTable(Sequence[EvidenceFile]):
    """Files of evidence.json, in 80 bytes of memory each beyond their paths: a large run has millions of them."""

    def __init__(self, files: Iterable[EvidenceFile] = ()) -> None:
        self._paths, self._digests = bytearray(), bytearray()
        self._ends, self._sizes = array("Q"), array("Q")
        for file in files:
            self.append(file)

    def append(self, file: EvidenceFile) -> None:
        """Add a file at the end."""
        self._paths += file.path.encode()
        self._digests += bytes.fromhex(file.sha256 + file.chain)
        self._ends.append(len(self._paths))
        self._sizes.append(file.bytes)

    @overload
    def __getitem__(self, place: int) -> EvidenceFile: ...
    @overload
    def __getitem__(self, place: slice) -> "FileTable": ...
    def __getitem__(self, place: int | slice) -> "EvidenceFile | FileTable":
        if isinstance(place, slice):
            return FileTable(self[one] for one in range(*place.indices(len(self))))
        place = range(len(self))[place]
        path = self._paths[self._ends[place - 1] if place else 0 : self._ends[place]]
        digests = self._digests[64 * place : 64 * place + 64].hex()
        return EvidenceFile(path=path.decode(), sha256=digests[:64], bytes=self._sizes[place], chain=digests[64:])

    def __len__(self) -> int:
        return len(self._ends)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileTable):
            return NotImplemented
        own, others = ((one._paths, one._digests, one._ends, one._sizes) for one in (self, other))
        return own == others


@dataclass(frozen=True)
class EvidenceList:
    """The content of evidence.json."""

    files: Sequence[EvidenceFile]
    """What was measured and decided, in order of path."""
    head: str
    """The chain after these."""
    pages: Sequence[EvidenceFile]
    """Files in report/, in order of path."""
    growing: Sequence[EvidenceFile]
    """Files to which lines are added later, in order of path."""
    complete_head: str
    """The chain after all."""


class _Around(Record):
    """evidence.json without its files, which are read and written one at a time."""

    format: Literal[2] = 2
    """Version of the list."""
    files: tuple[()] = ()
    head: str
    pages: tuple[()] = ()
    growing: tuple[()] = ()
    complete_head: str


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


_FILE, _AROUND, _FIRST = TypeAdapter(EvidenceFile), TypeAdapter(_Around), TypeAdapter(FirstEvidenceList)


def write_evidence(run: RunFolder) -> None:
    """Write evidence.json over every file of a run; called when all others are written.

    Raises RunFolderError for a link, a FIFO and the like in the run.
    """
    inventory = list_run(run.path)
    if inventory.refused:
        raise RunFolderError(f"{str(run.path)!r} cannot be listed as evidence: {'; '.join(inventory.refused)}")
    write_atomically(run.path / EVIDENCE, _format_evidence(run, inventory.files))


def _format_evidence(run: RunFolder, sizes: FileSizes) -> Iterator[str]:
    """Yield evidence.json in pieces; every file is read when its entry is written."""
    link = _START

    def list_files(section: Section) -> Iterator[str]:
        nonlocal link
        with FolderReader(run.path) as reader:
            for name in sizes:
                if name != EVIDENCE and find_section(name) == section:
                    sha256, size = hash_with(reader, name)
                    link = _link(link, name, sha256, size)
                    yield _ENTRY.format(_quote(name), sha256, size, link.hex())

    yield '{\n  "format": 2,\n'
    yield from format_list("files", list_files("files"))
    yield f',\n  "head": "{link.hex()}",\n'
    yield from format_list("pages", list_files("pages"))
    yield ",\n"
    yield from format_list("growing", list_files("growing"))
    yield f',\n  "complete_head": "{link.hex()}"\n}}\n'


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
    with FolderReader(run.path) as reader:
        return hash_with(reader, name, length)


def hash_with(reader: FolderReader, name: str, length: int | None = None) -> tuple[str, int]:
    """Return the same of one of many files."""
    digest, done = hashlib.sha256(), 0
    with reader.open(name) as file:
        # Most files are small, for which a block of its own takes longer than their bytes.
        whole = min(_BLOCK, os.fstat(file.fileno()).st_size + 1)
        while block := file.read(whole if length is None else min(whole, length - done)):
            digest.update(block)
            done += len(block)
    return digest.hexdigest(), done


def read_evidence(run: RunFolder, limit: int = MAX_PIECES_BYTES) -> EvidenceList | FirstEvidenceList:
    """Read evidence.json of at most `limit` bytes. Raises RunFolderError when it is missing or damaged."""
    path = run.path / EVIDENCE
    if not path.is_file():
        raise RunFolderError(
            f"{str(run.path)!r} has no evidence.json: it is not a finished run; give the audit's command again to "
            "finish it, or imgaudit report RUN to keep what was measured so far"
        )
    if not _names_format(run, limit):
        content = read_json(path, min(limit, MAX_JSON_BYTES))
        if not (isinstance(content, Mapping) and "format" in content):
            return _validate(run, _FIRST, content)
    tables = {section: FileTable() for section in ("files", "pages", "growing")}
    takers = {section: partial(_take, run, table) for section, table in tables.items()}
    around = _validate(run, _AROUND, read_json_in_pieces(path, takers, limit))
    return EvidenceList(head=around.head, complete_head=around.complete_head, **tables)


def _names_format(run: RunFolder, limit: int) -> bool:
    """Tell whether evidence.json begins with its format, as all do that name one; it need not be read as a whole."""
    path = run.path / EVIDENCE
    try:
        with open_bounded(path, limit) as file:
            return _BEGINNING.match(file.read(_LONGEST_BEGINNING)) is not None
    except (InputError, OSError) as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error}") from error


def _take(run: RunFolder, table: FileTable, file: object) -> None:
    table.append(_validate(run, _FILE, file))


def _validate(run: RunFolder, kind: TypeAdapter[Kind], value: object) -> Kind:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise RunFolderError(f"{str(run.path / EVIDENCE)!r} is damaged: {describe_problem(error)}") from error


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
    link = _START
    sections = (("files", listed.files), ("pages", listed.pages), ("growing", listed.growing))
    for section, files in sections:
        # Lists that imgaudit writes are in order, in which nothing is twice unless it follows itself.
        ordered = all(one.path <= other.path for one, other in pairwise(files))
        seen = set[str]()
        before: str | None = None
        for file in files:
            link = _link(link, file.path, file.sha256, file.bytes)
            if link.hex() != file.chain:
                yield f"evidence.json was edited: its chain breaks at {file.path!r:.200}"
                return
            twice = file.path == before if ordered else file.path in seen
            if find_section(file.path) != section or twice:
                yield f"evidence.json was edited: it lists {file.path!r:.200} twice, or where it does not belong"
                return
            before = file.path
            if not ordered:
                seen.add(file.path)
        if section == "files" and link.hex() != listed.head:
            yield "evidence.json was edited: its head is not the last link of its chain"
            return
    if link.hex() != listed.complete_head:
        yield "evidence.json was edited: its complete_head is not the last link of its chain"


def _link(before: bytes, path: str, sha256: str, size: int) -> bytes:
    return bytes.fromhex(digest_parts(before, path, bytes.fromhex(sha256), size.to_bytes(8, "big")))
