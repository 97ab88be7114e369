"""evidence.json: the SHA-256 of every file of a run that is evidence, chained; written, read and checked here.

Digests show that a file was changed after evidence.json was written. Whoever changes both leaves another head; so the
head should be kept somewhere else as well, in a letter or a notary's file.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.reading import hash_file
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.problems import describe_problem


class EvidenceFile(BaseModel):
    """One file of evidence.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sha256: str
    chain: str
    """SHA-256 over the chain before, the path and the digest."""


class EvidenceList(BaseModel):
    """The content of evidence.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: list[EvidenceFile]
    head: str
    """The chain of the last file."""


def write_evidence(run: RunFolder) -> None:
    """Write evidence.json: SHA-256 of every file that is evidence, chained in order of path.

    report/ can be made again, and review/ grows after the run: both are left out.
    """
    chain = ""
    files = []
    for name, path in evidence_files(run.path).items():
        digest = hash_file(path)
        chain = _link(chain, name, digest)
        files.append(EvidenceFile(path=name, sha256=digest, chain=chain))
    write_json(run.path / "evidence.json", EvidenceList(files=files, head=chain).model_dump(mode="json"))


def evidence_files(folder: Path) -> dict[str, Path]:
    """Return the evidence files of a run, in order of path, by their path inside it; report/ and review/ are none."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        made_again = relative.parts[0] in {"report", "review", "attestations", "evidence.json"}
        if path.is_file() and not made_again and not relative.name.startswith("."):
            found[relative.as_posix()] = path
    return found


def read_evidence(run: RunFolder) -> EvidenceList:
    """Read evidence.json. Raises RunFolderError when it is missing or damaged."""
    path = run.path / "evidence.json"
    if not path.is_file():
        raise RunFolderError(f"{str(run.path)!r} has no evidence.json: it is not a finished run")
    try:
        return EvidenceList.model_validate(read_json(path))
    except ValidationError as error:
        raise RunFolderError(f"{str(path)!r} is damaged: {describe_problem(error)}") from error


def find_changes(run: RunFolder, listed: EvidenceList) -> Iterator[str]:
    """Yield what does not match, in words: the chain in itself, then files that are missing, changed or added."""
    yield from _wrong_chain(listed)
    yield from _wrong_files(run, listed)


def _wrong_chain(listed: EvidenceList) -> Iterator[str]:
    chain = ""
    for file in listed.files:
        chain = _link(chain, file.path, file.sha256)
        if chain != file.chain:
            yield f"evidence.json was edited: its chain breaks at {file.path!r:.200}"
            return
    if chain != listed.head:
        yield "evidence.json was edited: its head is not the last link of its chain"


def _wrong_files(run: RunFolder, listed: EvidenceList) -> Iterator[str]:
    there = evidence_files(run.path)
    for file in listed.files:
        path = there.pop(file.path, None)
        if path is None:
            yield f"{file.path!r:.200} is missing"
        elif hash_file(path) != file.sha256:
            yield f"{file.path!r:.200} was changed: it is not the file that evidence.json names"
    for name in sorted(there):
        yield f"{name!r:.200} was added: evidence.json does not name it"


def _link(chain: str, path: str, sha256: str) -> str:
    return hashlib.sha256(f"{chain}{path}{sha256}".encode()).hexdigest()
