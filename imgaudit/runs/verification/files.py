"""Every file of a run against its digest in evidence.json."""

import hashlib
from collections.abc import Iterator
from itertools import chain

from imgaudit.exceptions import RunFolderError
from imgaudit.io.reading import FolderReader, open_regular
from imgaudit.runs.evidence import (
    EVIDENCE,
    GROWING,
    EvidenceFile,
    EvidenceList,
    FirstEvidenceList,
    check_chain,
    hash_with,
    read_evidence,
)
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import Inventory, list_run
from imgaudit.runs.verification.first_evidence import check_first_chain, compare_first_files
from imgaudit.schema.verification import Check

REWRITTEN = (
    "whether evidence.json is the one that the audit wrote: whoever changes a run can write it again; its head, noted "
    "elsewhere or signed, shows that, and none was given (--head)"
)

FIRST_FORMAT = (
    "report/, review/ and files whose names begin with a dot: evidence.json of this run was written by an earlier "
    "version, and does not cover them; imgaudit report RUN writes it again"
)

_BLOCK = 2**20

_EMPTY = hashlib.sha256().hexdigest()
"""SHA-256 of nothing."""


def check_files(
    run: RunFolder, inventory: Inventory, listed: EvidenceList | FirstEvidenceList, head: str = ""
) -> Check:
    """Compare the files of a run with evidence.json: its chain, then what is missing, changed or added.

    head:  head or complete_head as it was noted elsewhere, or its first digits; empty for none
    """
    not_done = [] if head else [REWRITTEN]
    if isinstance(listed, FirstEvidenceList):
        problems = [*check_first_chain(listed), *compare_first_files(run, inventory, listed)]
        compared, added = len(listed.files), 0
        not_done.append(FIRST_FORMAT)
        heads = [listed.head]
    else:
        problems = [*check_chain(listed), *_compare_files(run, inventory, listed)]
        grown, added = _compare_growing(run, inventory, listed)
        problems += grown
        compared = len(listed.files) + len(listed.pages) + len(listed.growing)
        heads = [listed.head, listed.complete_head]
    if head and not any(one.startswith(head.lower()) for one in heads):
        ends = " and ".join(heads)
        problems.append(f"the chain ends in {ends}, not in {head}: this is another run, or it was written again")
    done = f"{compared} files were compared with the digests in evidence.json"
    if added:
        done += f"; {added} {'line was' if added == 1 else 'lines were'} added after evidence.json was written"
    return Check(name="files", done=done, not_done=tuple(not_done), problems=tuple(problems))


def find_changes(run: RunFolder) -> tuple[str, ...]:
    """Return what keeps a run from being as its evidence.json says, in words.

    Raises RunFolderError for a folder without evidence.
    """
    inventory = list_run(run.path)
    return inventory.refused or check_files(run, inventory, read_evidence(run)).problems


def _compare_files(run: RunFolder, inventory: Inventory, listed: EvidenceList) -> Iterator[str]:
    named = bytearray(len(inventory.files))
    with FolderReader(run.path) as reader:
        for file in chain(listed.files, listed.pages):
            place = inventory.files.place(file.path)
            if place is None:
                yield f"{file.path!r:.200} is missing"
                continue
            named[place] = True
            if file.bytes != inventory.files[file.path] or _hash(reader, file.path) != file.sha256:
                yield f"{file.path!r:.200} was changed: it is not the file that evidence.json names"
    for name, known in zip(inventory.files, named, strict=True):
        if not known and name not in {EVIDENCE, *GROWING}:
            yield f"{name!r:.200} was added: evidence.json does not name it"


def _hash(reader: FolderReader, name: str, length: int | None = None) -> str:
    """Return a file's digest; the empty string where it can no longer be opened."""
    try:
        return hash_with(reader, name, length)[0]
    except (OSError, RunFolderError):
        return ""


def _compare_growing(run: RunFolder, inventory: Inventory, listed: EvidenceList) -> tuple[list[str], int]:
    """Return what is wrong with files that grow, and how many lines were added to them."""
    problems, added = list[str](), 0
    before = {file.path: file for file in listed.growing}
    with FolderReader(run.path) as reader:
        for name in GROWING:
            file = before.get(name, EvidenceFile(path=name, sha256=_EMPTY, bytes=0, chain=_EMPTY))
            if name not in inventory.files:
                if name in before:
                    problems.append(f"{name!r} is missing")
            elif inventory.files[name] < file.bytes or _hash(reader, name, file.bytes) != file.sha256:
                problems.append(f"{name!r} was changed: lines may only be added to those that evidence.json covers")
            else:
                added += _count_lines(run, name, file.bytes)
    return problems, added


def _count_lines(run: RunFolder, name: str, start: int) -> int:
    """Count the lines of a file after its first `start` bytes."""
    count, last = 0, b"\n"
    with open_regular(run.path / name) as file:
        file.seek(start)
        while block := file.read(_BLOCK):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")
