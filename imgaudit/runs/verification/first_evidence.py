"""Lists of evidence that earlier versions wrote, compared by their own rule.

Their chain hashes previous link, path and digest as one text without lengths, so that two different lists can give the
same link; and they leave report/, review/ and hidden files out.
"""

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from imgaudit.exceptions import RunFolderError
from imgaudit.runs.evidence import FirstEvidenceList, hash_beginning
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import Inventory


def check_first_chain(listed: FirstEvidenceList) -> Iterator[str]:
    """Yield what is wrong with the chain in itself, or with the form of an entry."""
    chain = ""
    for file in listed.files:
        if len(file.sha256) != 64 or not _is_path(file.path):
            yield f"evidence.json was edited: {file.path!r:.200} is no file of a run, or its digest is none"
            return
        text = f"{chain}{file.path}{file.sha256}"
        chain = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        if chain != file.chain:
            yield f"evidence.json was edited: its chain breaks at {file.path!r:.200}"
            return
    if chain != listed.head:
        yield "evidence.json was edited: its head is not the last link of its chain"


def compare_first_files(run: RunFolder, inventory: Inventory, listed: FirstEvidenceList) -> Iterator[str]:
    """Yield files that are missing, changed or added."""
    there = {name for name in inventory.files if _is_covered(name)}
    for file in listed.files:
        if file.path not in there:
            yield f"{file.path!r:.200} is missing"
        elif _differs(run, file.path, file.sha256):
            yield f"{file.path!r:.200} was changed: it is not the file that evidence.json names"
        there.discard(file.path)
    for name in sorted(there):
        yield f"{name!r:.200} was added: evidence.json does not name it"


def _differs(run: RunFolder, name: str, sha256: str) -> bool:
    try:
        return hash_beginning(run, name)[0] != sha256
    except (OSError, RunFolderError):
        return True


def _is_covered(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parts[0] not in {"report", "review", "evidence.json"} and not path.name.startswith(".")


def _is_path(name: str) -> bool:
    """Return whether an entry is a path of one line: entries that were merged hold a digest in the middle."""
    return name.isprintable() and not any(part in {"", ".", ".."} for part in name.split("/"))
