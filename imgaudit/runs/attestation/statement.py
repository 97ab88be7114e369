"""Statements: what is signed about a run or a file, and whether it still holds."""

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ValidationError

from imgaudit.exceptions import InputError
from imgaudit.io.provenance import utc_now
from imgaudit.io.reading import hash_file
from imgaudit.runs.attestation.libraries import needs_evidence_extra
from imgaudit.runs.evidence import read_evidence
from imgaudit.runs.finished import run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.attestation import (
    CHAIN,
    FILE_PREDICATE,
    RUN_PREDICATE,
    FilePredicate,
    RunPredicate,
    Statement,
)
from imgaudit.schema.problems import describe_problem

COVERED = ("evidence.json", "manifest.json", "report.json", "seal.json")
"""Files of a run whose digests are signed, where they are there; evidence.json has those of all others."""


def state_run(run: RunFolder) -> bytes:
    """Return the statement about a finished run, as the bytes to be signed. Raises RunFolderError for another folder.

    Its subjects are the files of `COVERED` and the heads of the evidence.
    """
    heads = _heads(run)
    predicate = RunPredicate(run=run_id(run), signed=utc_now(), imgaudit=metadata.version("imgaudit"), **heads)
    digests = {name: {"sha256": digest} for name, digest in _digests(run).items()}
    digests |= {name: {CHAIN: head} for name, head in heads.items() if head}
    return _state(digests, RUN_PREDICATE, predicate)


def state_file(file: Path) -> bytes:
    """Return the statement about a file: its name and SHA-256. Raises InputError when it cannot be read."""
    try:
        digests = {file.name: {"sha256": hash_file(file)}}
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    return _state(digests, FILE_PREDICATE, FilePredicate(signed=utc_now(), imgaudit=metadata.version("imgaudit")))


def read_statement(payload: bytes) -> Statement:
    """Read what was signed. Raises InputError, whose message completes "the signature ..."."""
    try:
        return Statement.model_validate(json.loads(payload))
    except ValidationError as error:
        raise InputError(f"covers no in-toto statement: {describe_problem(error)}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"covers no in-toto statement: {error}") from error


def signed_run(statement: Statement) -> RunPredicate | None:
    """Return what a statement says of a run; None for a statement about a file.

    Raises InputError, whose message completes "the signature ...", for a statement of any other kind.
    """
    kinds: dict[str, type[BaseModel]] = {RUN_PREDICATE: RunPredicate, FILE_PREDICATE: FilePredicate}
    kind = kinds.get(statement.predicate_type)
    if kind is None:
        raise InputError(
            f"covers a statement of a kind that this version does not know ({statement.predicate_type!r:.100}); "
            f"expected {RUN_PREDICATE} or {FILE_PREDICATE}"
        )
    try:
        predicate = kind.model_validate(statement.predicate)
    except ValidationError as error:
        raise InputError(f"covers a damaged statement: {describe_problem(error)}") from error
    return predicate if isinstance(predicate, RunPredicate) else None


def run_differences(statement: Statement, said: RunPredicate, run: RunFolder) -> Iterator[str]:
    """Yield where a run is not what its signature says; each completes "the signature ..."."""
    signed = {subject.name: subject.digest for subject in statement.subject}
    digests = _digests(run)
    for name, digest in digests.items():
        if name not in signed:
            yield f"does not cover {name}, which the run has"
        elif signed[name].get("sha256") != digest:
            yield f"is for another {name}: its SHA-256 there is {signed[name].get('sha256', 'missing')!r:.80}"
    for name in sorted(signed.keys() & set(COVERED) - digests.keys()):
        yield f"covers {name}, which the run lacks"
    for name, head in _heads(run).items():
        if getattr(said, name) != head:
            yield f"is for the {name} {getattr(said, name)!r:.80}, but the evidence has {head!r:.80}"


def file_differences(statement: Statement, file: Path) -> Iterator[str]:
    """Yield where a file is not what its signature says; each completes "the signature ..."."""
    digest = hash_file(file)
    if digest not in {subject.digest.get("sha256") for subject in statement.subject}:
        named = ", ".join(f"{subject.name!r:.80}" for subject in statement.subject)
        yield f"is for other content ({named}) than {file.name} has (SHA-256 {digest})"


def _digests(run: RunFolder) -> dict[str, str]:
    return {name: hash_file(run.path / name) for name in COVERED if (run.path / name).is_file()}


def _heads(run: RunFolder) -> dict[str, str]:
    evidence = read_evidence(run)
    return {"head": evidence.head, "complete_head": getattr(evidence, "complete_head", "") or ""}


def _state(digests: dict[str, dict[str, str]], kind: str, predicate: BaseModel) -> bytes:
    with needs_evidence_extra("signing"):
        from google.protobuf.json_format import MessageToDict
        from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
        from in_toto_attestation.v1.statement import Statement as InTotoStatement
    subjects = [ResourceDescriptor(name=name, digest=digest).pb for name, digest in digests.items()]
    statement = InTotoStatement(subjects, kind, predicate.model_dump(mode="json"))
    statement.validate()
    return json.dumps(MessageToDict(statement.pb), ensure_ascii=False, sort_keys=True).encode("utf-8")
