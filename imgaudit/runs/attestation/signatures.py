"""Signatures over a run or a file: made with a private key, checked with public ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.runs.attestation.envelope import Envelope, find_signers, read_envelope, sign_payload
from imgaudit.runs.attestation.keys import SHOWN_DIGITS, PublicKey, read_private_key, read_public_key
from imgaudit.runs.attestation.place import ENVELOPE, Place
from imgaudit.runs.attestation.statement import (
    file_differences,
    read_statement,
    run_differences,
    signed_run,
    state_file,
    state_run,
)
from imgaudit.runs.finished import run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification.files import find_changes
from imgaudit.schema.verification import Check

NAME = "signatures"
SHOWN_FILES = 5
"""Files that are named when nothing is known of them."""


def sign(path: Path, key: Path, ask_passphrase: Callable[[], str]) -> Path:
    """Sign a finished run, or a file that belongs to no run; return the file of the signature.

    A run's goes into RUN/attestations/, a file's beside it.

    Raises InputError when the key cannot be used or the signature is there already, RunFolderError when the folder is
    no finished run, or its files are not those of its evidence: nobody should sign that.
    """
    place = Place.of_path(path)
    if place.run is not None and not path.is_dir():
        raise InputError(f"{str(path)!r} belongs to a run: sign the run folder, which covers it")
    signer = read_private_key(key, ask_passphrase)
    if place.run is None:
        return place.write(path.name + ENVELOPE, sign_payload(state_file(path), signer))
    changes = find_changes(place.run)
    if changes:
        raise RunFolderError(f"{str(path)!r} is not as its evidence says, and is not signed: {changes[0]}")
    data = sign_payload(state_run(place.run), signer)
    return place.write_numbered(f"signature-{signer.public_key.keyid[:SHOWN_DIGITS]}", ENVELOPE, data)


def check_signatures(run: RunFolder, public_keys: Sequence[Path] = ()) -> Check:
    """Check the signatures of a run with public keys; without keys say which signatures were not checked.

    At least one of the keys must have signed the result as it is now. Raises InputError for a key that cannot be read.
    """
    return _check(Place.of_run(run), public_keys)


def check_file_signatures(file: Path, public_keys: Sequence[Path] = ()) -> Check:
    """Check the signatures beside a file that belongs to no run, as `check_signatures` does those of a run."""
    return _check(Place(file.parent, only=file.name), public_keys)


@dataclass
class _Found:
    """What the signatures of one place have shown so far."""

    done: list[str] = field(default_factory=list)
    not_done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    holders: dict[str, PublicKey] = field(default_factory=dict)
    """Keys that signed what is there now, by their ids."""
    earlier: list[tuple[str, PublicKey]] = field(default_factory=list)
    """Signatures of the same run in an earlier state, with their keys."""
    result_signed: bool = False


def _check(place: Place, public_keys: Sequence[Path]) -> Check:
    found, envelopes = _Found(), {}
    for name in place.envelopes():
        try:
            envelopes[name] = read_envelope(place.read(name))
        except InputError as error:
            found.problems.append(f"{name!r:.200} {error}")
    if strangers := place.strangers():
        names = ", ".join(f"{name!r:.200}" for name in strangers[:SHOWN_FILES])
        found.not_done.append(f"{len(strangers)} files in attestations/ that are no signatures or timestamps: {names}")
    if not public_keys:
        unchecked = (_describe_unchecked(envelopes), *found.not_done)
        return Check(name=NAME, not_done=unchecked, problems=tuple(found.problems))
    keys = [read_public_key(path) for path in public_keys]
    for name, envelope in envelopes.items():
        _check_envelope(place, name, envelope, keys, found)
    _judge_earlier(found)
    _require_signature(place, keys, envelopes, found)
    return Check(name=NAME, done="; ".join(found.done), not_done=tuple(found.not_done), problems=tuple(found.problems))


def _describe_unchecked(envelopes: dict[str, Envelope]) -> str:
    if not envelopes:
        return "signatures: there is none"
    ids = sorted({key_id[:SHOWN_DIGITS] or "unnamed" for one in envelopes.values() for key_id in one.key_ids})
    return (
        f"signatures: {len(envelopes)}, said to be by the keys {', '.join(ascii(one)[1:-1] for one in ids)}, because "
        "no public key was given (--key)"
    )


def _check_envelope(place: Place, name: str, envelope: Envelope, keys: Sequence[PublicKey], found: _Found) -> None:
    """Note what one envelope shows: by which keys it is signed, and whether what it says still holds."""
    signers = find_signers(envelope, keys)
    if not signers:
        if known := [key for key in keys if key.id in envelope.key_ids]:
            found.problems.append(
                f"{name!r:.200} was changed after it was signed, or is not by key {known[0]}: the signature does not "
                "fit its content"
            )
        else:
            ids = ", ".join(f"{key_id[:SHOWN_DIGITS]!r}" for key_id in envelope.key_ids)
            found.not_done.append(f"{name!r:.200} is signed by a key that was not given: {ids}")
        return
    try:
        statement = read_statement(envelope.payload)
        said = signed_run(statement)
        if said is not None and place.run is not None:
            differences, about = list(run_differences(statement, said, place.run)), "the result"
        else:
            file = place.target(name.removesuffix(ENVELOPE))
            if said is not None or file is None or not file.is_file():
                raise InputError("covers nothing that is here")
            differences, about = list(file_differences(statement, file)), file.name
    except InputError as error:
        found.problems.append(f"{name!r:.200}: the signature {error}")
        return
    if not differences:
        found.result_signed |= said is not None or place.run is None
        found.holders |= {key.id: key for key in signers}
        found.done.append(f"{about} is signed by key {' and '.join(map(str, signers))} ({name})")
    elif said is not None and place.run is not None and said.run == run_id(place.run):
        found.earlier.append((f"{name!r:.200}: the signature {differences[0]}", signers[0]))
    else:
        found.problems.append(f"{name!r:.200}: the signature {differences[0]}")


def _judge_earlier(found: _Found) -> None:
    """Signatures of an earlier state are history where the same key signed again, and mismatches where it did not."""
    for sentence, key in found.earlier:
        if key.id in found.holders:
            found.not_done.append(f"{sentence}; the same key signed the run again since")
        else:
            found.problems.append(
                f"{sentence}; it is of an earlier state of this run: whoever signed it can sign it again"
            )


def _require_signature(place: Place, keys: Sequence[PublicKey], envelopes: dict[str, Envelope], found: _Found) -> None:
    """Add a problem when no given key signed what is there, or one of them signed nothing."""
    if not envelopes and not found.problems:
        found.problems.append(f"there is no signature in {str(place.folder)!r}, although a public key was given")
        return
    missing = [key for key in keys if key.id not in found.holders]
    if missing and not found.problems:
        found.problems.append(f"no signature here is by key {missing[0]}")
    elif not missing and not found.result_signed:
        found.problems.append("no given key signed the result, but only other files")
