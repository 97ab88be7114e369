"""Seals as files: read, kept in the run that they fix, and compared with it afterwards. Needs no model."""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import CalibrationError, InputError, RunFolderError
from imgaudit.io.reading import format_path, read_bounded
from imgaudit.io.writing import read_json, write_atomically
from imgaudit.runs.attestation.place import copy_attestations
from imgaudit.runs.departures import find_manifest_departures, find_notes, find_other_seed
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.seal import Seal, SealedBank, Statement, canonical_json, hash_json
from imgaudit.schema.verification import Check

MAX_SEAL_BYTES = 64 * 2**20
"""Larger seals are refused unread; 100,000 images fit."""

MOST_NAMED = 20
"""Differences between two seals that are named."""

OTHER_RUNS = (
    "runs with other seeds of the same statement cannot be seen from one run: ask for all runs of this seal, and see "
    "imgaudit compare"
)
"""The question that a seal leaves open."""

NOT_SEALED = (
    "the run has no seal: it records the targets, controls and rules that it began with, but nothing shows others that "
    "they were chosen before anything was measured"
)


def read_seal(path: Path) -> Seal:
    """Read a seal that the user named. Raises InputError that names the file and says what is wrong with it."""
    data = read_seal_bytes(path)
    try:
        return replace(_parse(data), path=path)
    except InputError as error:
        raise InputError(f"the seal {format_path(path)!r} {error}") from error


def read_seal_bytes(path: Path) -> bytes:
    """Read a file that is said to be a seal, without looking into it. Raises InputError that names the file."""
    try:
        return read_bounded(path, MAX_SEAL_BYTES)
    except InputError as error:
        raise InputError(f"the seal {format_path(path)!r} {error}") from error


def read_run_seal(run: RunFolder) -> Seal | None:
    """Read the seal of a run; None for a run without one. Raises RunFolderError when it is damaged."""
    path = run.seal_path
    if not path.is_symlink() and not path.exists():
        return None
    try:
        return _parse(read_bounded(path, MAX_SEAL_BYTES))
    except InputError as error:
        raise RunFolderError(f"{str(path)!r} {error}") from error


def keep_seal(run: RunFolder, seal: Seal) -> None:
    """Copy a seal into a run that begins with it, byte by byte, with the signature and timestamps beside it."""
    write_atomically(run.seal_path, seal.data)
    if seal.path is not None:
        copy_attestations(seal.path, run, run.seal_path.name)


def choose_seal(run: RunFolder, given: Seal | None) -> Seal | None:
    """Return the seal that an audit has to keep to: the one given, or that of a run which is continued.

    Raises RunFolderError for a run that was begun with another seal, or without one.
    """
    held = read_run_seal(run)
    if given is None or (held is not None and held.data == given.data):
        return held
    if held is not None:
        raise RunFolderError(
            f"{str(run.path)!r} was begun with the seal {held.sha256[:16]}, but {given.sha256[:16]} was given: leave "
            "--seal out to continue the run, or name another --out"
        )
    if run.manifest_path.is_file():
        raise RunFolderError(
            f"{str(run.path)!r} was begun without a seal, and a seal fixes an audit before it begins: leave --seal out "
            "to continue the run, or name another --out"
        )
    return given


def describe_seal(seal: Seal, manifest: AuditManifest) -> dict[str, object]:
    """Return what reports say of a run's seal.

    manifest:  of the run
    """
    sealed = seal.statement.audit
    return {
        "sha256": seal.sha256,
        "sealed": sealed.started,
        "operator": sealed.operator,
        "seed": sealed.seed,
        "other_seed": find_other_seed(sealed, manifest),
        "notes": list(find_notes(sealed, manifest)),
    }


def check_seal(run: RunFolder, other: bytes | None = None) -> Check:
    """Compare a run with its seal: targets, controls, rules, model and seed.

    other:  content of the copy of the seal that somebody else holds
    """
    try:
        seal = read_run_seal(run)
        if seal is None:
            missing = [] if other is None else ["seal.json is missing, but a seal was given"]
            missing += _compare_report(run, None)
            return Check(name="seal", not_done=(NOT_SEALED,), problems=tuple(missing))
        manifest = read_manifest(run)
        problems = [
            *_compare_copies(seal, other),
            *_find_contradictions(run, seal.statement, manifest),
            *_compare_report(run, describe_seal(seal, manifest)),
        ]
    except (RunFolderError, CalibrationError) as error:
        return Check(name="seal", problems=(str(error),))
    sealed = seal.statement.audit
    not_done = [OTHER_RUNS]
    if other is None:
        not_done.append("the seal was not compared with a copy kept elsewhere: give one with --seal FILE")
    if seal.statement.decoys is not None:
        not_done.append("decoys were not compared with the seal: a run keeps vectors of them, not their files")
    not_done += [f"not fixed by the seal: {note}" for note in find_notes(sealed, manifest)]
    done = f"the run was compared with the seal {seal.sha256} of {sealed.started}: {_count(seal.statement)}"
    if said := find_other_seed(sealed, manifest):
        done += f"; {said}"
    return Check(name="seal", done=done, not_done=tuple(not_done), problems=tuple(problems))


def _parse(data: bytes) -> Seal:
    """Parse a seal. Raises InputError, whose message completes the sentence "the seal ..."."""
    try:
        content = json.loads(data)
        if canonical_json(content) != data:
            raise InputError("was edited: it is not canonical JSON as imgaudit seal writes it")
        statement = Statement.model_validate(content)
        config, audit = statement.config, statement.audit
    except KeyError as error:
        raise InputError(f"was edited: it lacks the option {error}") from error
    except ValidationError as error:
        raise InputError(f"is no seal of this version of imgaudit: {describe_problem(error)}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as a seal: {error}") from error
    if config.seed != audit.seed:
        raise InputError("was edited: it names two seeds")
    if (audit.protocol.hash, audit.policy.hash) != (audit.protocol_hash, audit.policy_hash):
        raise InputError("was edited: its protocol or policy is not the one that its hash names")
    return Seal(statement, data)


def _compare_copies(seal: Seal, other: bytes | None) -> Iterator[str]:
    if other is None or other == seal.data:
        return
    yield f"seal.json is {seal.sha256}, but the seal given is {sha256(other).hexdigest()}"
    try:
        given = _parse(other)
    except InputError as error:
        yield f"the seal given {error}"
        return
    for departure in islice(find_manifest_departures(given.statement.audit, seal.statement.audit), MOST_NAMED):
        yield f"seal.json departs from the seal given: {departure}"


def _compare_report(run: RunFolder, described: dict[str, object] | None) -> Iterator[str]:
    """Yield where report.json says something else of the seal than the seal itself."""
    content = run.read_report_around() if run.report_path.is_file() else {}
    about = content.get("run") if isinstance(content, dict) else None
    said = about.get("seal") if isinstance(about, dict) else None
    if described is None and said is not None:
        yield "report.json says that the run was sealed, but seal.json is missing"
    elif described is not None and content and said != described:
        yield "report.json says something else of the seal than seal.json and manifest.json"


def _find_contradictions(run: RunFolder, statement: Statement, manifest: AuditManifest) -> Iterator[str]:
    sealed = statement.audit
    for departure in find_manifest_departures(sealed, manifest):
        yield f"manifest.json departs from seal.json: {departure}"
    if manifest.started < sealed.started:
        yield f"manifest.json says that the run began at {manifest.started}, before it was sealed at {sealed.started}"
    yield from compare_bank(run, statement)
    known = {one.sha256[:16] for one in sealed.targets}
    for name in sorted(run.recorded(with_images=False).finished - known):
        yield f"records.jsonl measures {name!r:.40}, which is no target of seal.json"
    reference = run.path / "reference.json"
    if reference.is_file() or statement.reference is not None:
        held = read_json(reference) if reference.is_file() else {}
        held = held.get("manifest_sha256") if isinstance(held, dict) else None
        if held != (statement.reference.manifest_sha256 if statement.reference else None):
            yield "reference.json is of another collection than seal.json names"


def compare_bank(run: RunFolder, statement: Statement) -> Iterator[str]:
    """Yield in what the null bank of a run contradicts the seal. Raises CalibrationError when it cannot be read."""
    path, controls = run.calibration_path, statement.controls
    if not path.is_file():
        if controls is not None:
            yield "calibration.json is missing, although seal.json names controls"
        return
    if isinstance(controls, SealedBank):
        if hash_json(read_json(path)) != controls.bank_sha256:
            yield "calibration.json is another null bank than seal.json names"
        return
    bank = NullBank.read(path)
    held = {digest for one in bank.sources for digest in (*one.sha256s, *one.same_works)}
    held |= {one.sha256 for one in (*bank.controls, *bank.kept_out, *bank.near_copies)}
    sealed = {one.sha256: one for one in controls.images} if controls is not None else {}
    for digest, one in sealed.items():
        if digest not in held:
            yield f"calibration.json lacks the control {one.path!r:.200}, which seal.json names"
    if more := len(held - sealed.keys()):
        yield f"calibration.json has {more} controls that seal.json does not name"


def _count(statement: Statement) -> str:
    controls, audit = statement.controls, statement.audit
    if controls is None:
        number = "no controls"
    else:
        number = f"{controls.controls if isinstance(controls, SealedBank) else len(controls.images)} controls"
    return f"{len(audit.targets)} targets, {number}, protocol, policy, model and seed {audit.seed}"
