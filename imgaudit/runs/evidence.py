"""A run folder checked by somebody who did not make it: files against digests, verdicts against what they rest on.

Digests tell that a file was changed after evidence.json was written. Whoever changes both leaves another head; so the
head belongs somewhere else as well, in a letter or a notary's file. Verdicts are decided again from the measurements.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json
from imgaudit.runs.conclusion import decide_run
from imgaudit.runs.folder import RunFolder, evidence_files
from imgaudit.schema.findings import AuditResult, Finding
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.records import Record

SHOWN = 5
"""Fields of a finding that are named when it differs."""


class EvidenceFile(BaseModel):
    """One line of evidence.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sha256: str
    chain: str
    """SHA-256 over the chain before, the path and the digest."""


class EvidenceList(BaseModel):
    """evidence.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: list[EvidenceFile]
    head: str
    """The last link."""


class Verification(Record):
    """What was checked, and what is wrong."""

    head: str
    """Of the chain in evidence.json."""
    files: int
    """Files in it."""
    findings: int
    """Findings that were decided again."""
    problems: list[str]
    """In words; empty when everything matches."""

    @property
    def matches(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_run(run: RunFolder, head: str = "") -> Verification:
    """Compare a finished run with its evidence, and decide it again.

    head:  the chain's head as it was noted elsewhere, or its beginning
    Raises RunFolderError for a folder without evidence, or one that is too damaged to be decided.
    """
    listed = read_evidence(run)
    problems = [*_wrong_chain(listed), *_wrong_files(run, listed)]
    if head and not listed.head.startswith(head.lower()):
        problems.append(f"the chain ends in {listed.head}, not in {head}: this is another run, or it was written again")
    result = _read_result(run)
    again = decide_run(run, result.policy if result.redecided else None)
    problems += _other_findings(result, again)
    return Verification(head=listed.head, files=len(listed.files), findings=len(again.findings), problems=problems)


def read_evidence(run: RunFolder) -> EvidenceList:
    """evidence.json. Raises RunFolderError when it is missing or damaged."""
    path = run.path / "evidence.json"
    if not path.is_file():
        raise RunFolderError(f"{str(run.path)!r} has no evidence.json: it is not a finished run")
    try:
        return EvidenceList.model_validate(read_json(path))
    except ValidationError as error:
        raise RunFolderError(f"{str(path)!r} is damaged: {describe_problem(error)}") from error


def _wrong_chain(listed: EvidenceList) -> Iterator[str]:
    chain = ""
    for file in listed.files:
        chain = hashlib.sha256(f"{chain}{file.path}{file.sha256}".encode()).hexdigest()
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
        elif _digest(path) != file.sha256:
            yield f"{file.path!r:.200} was changed: it is not the file that evidence.json names"
    for name in sorted(there):
        yield f"{name!r:.200} was added: evidence.json does not name it"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_result(run: RunFolder) -> AuditResult:
    try:
        return AuditResult.model_validate(read_json(run.report_path))
    except ValidationError as error:
        raise RunFolderError(f"{str(run.report_path)!r} is damaged: {describe_problem(error)}") from error


SENTENCES = ("reason", "message", "skipped", "planner")
"""Fields that are prose: not compared where the run was worded by another version of imgaudit."""


def _other_findings(result: AuditResult, again: AuditResult) -> Iterator[str]:
    """Say where report.json differs from what the measurements, bank and policy of the run give."""
    worded_alike = result.wording == again.wording
    before, after = (
        {one.id: _comparable(one.model_dump(mode="json"), worded_alike) for one in decided.findings}
        for decided in (result, again)
    )
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"report.json has a finding {name!r:.40} that follows from nothing in the run"
        elif name not in before:
            yield f"report.json lacks the finding of {after[name]['path']!r:.200}"
        elif before[name] != after[name]:
            what = _differences(before[name], after[name])
            yield f"report.json says something else of {after[name]['path']!r:.200}: {what}"
    said, follows = (_comparable(one.summary.model_dump(mode="json"), worded_alike) for one in (result, again))
    if said != follows:
        yield "the counts in report.json do not follow from its findings"


def _comparable(value: Any, worded_alike: bool) -> Any:
    """Return what must be the same in both: everything, or all but the sentences."""
    if worded_alike:
        return value
    if isinstance(value, dict):
        return {
            key: "" if key in SENTENCES and isinstance(one, str) else _comparable(one, worded_alike)
            for key, one in value.items()
        }
    return [_comparable(one, worded_alike) for one in value] if isinstance(value, list) else value


def _differences(said: Mapping[str, Any], follows: Mapping[str, Any]) -> str:
    fields = [name for name in Finding.model_fields if said.get(name) != follows.get(name)]
    if "verdict" in fields:
        return f"verdict {said['verdict']}, where {follows['verdict']} follows"
    return ", ".join(fields[:SHOWN])
