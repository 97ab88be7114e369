"""Timestamps of a run or a file: requested, attached and checked with the authority's root certificate.

What is stamped of a run is its signature where there is one, and else evidence.json. The signature holds the digest of
evidence.json, so that its timestamp dates both; and a signature that is dated stays good when its key is lost later.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import read_json
from imgaudit.runs.attestation.authority import Authority, read_authority
from imgaudit.runs.attestation.envelope import read_envelope
from imgaudit.runs.attestation.place import ENVELOPE, MAX_BYTES, REQUEST, RESPONSE, Place
from imgaudit.runs.attestation.stamp import (
    Stamp,
    find_mismatch,
    is_stamp_of,
    make_request,
    read_request,
    read_stamp,
    verify_stamp,
)
from imgaudit.runs.attestation.statement import file_differences, read_statement, run_differences, signed_run
from imgaudit.runs.finished import run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.verification import Check

NAME = "timestamps"
MAX_STAMPED = 256 * 2**20
"""Size of a file that can be stamped; it is read into memory."""
SEAL = "seal.json"


def request(path: Path) -> Path:
    """Write a request for a timestamp of a run or a file, and return its file, which any machine can send.

    Raises InputError when there is one already, or it is not clear which signature of a run is meant.
    """
    place, name = _choose(path)
    target = place.target(name)
    if target is None:
        raise InputError(f"{str(path)!r} cannot be stamped")
    data = _read_target(target)
    if name + REQUEST in place.names():
        earlier = read_request(place.read(name + REQUEST))
        file = str(place.folder / (name + REQUEST))
        if earlier.message_imprint.message == read_request(make_request(data)).message_imprint.message:
            raise InputError(f"{file!r} requests this timestamp already: send that file")
        raise InputError(f"{file!r} is a request for an earlier state of {name}: remove it to request another")
    return place.write(name + REQUEST, make_request(data))


def attach(path: Path, response: Path) -> tuple[Path, Stamp]:
    """Keep an authority's response beside the request that it answers; return its file and what it says.

    Whether the authority is one to be trusted is checked by `check_timestamps`, with its root certificate.
    Raises InputError when the response is none, a refusal, or answers none of the requests.
    """
    place = Place.of_path(path)
    name = "" if path.is_dir() else path.name
    try:
        data = read_bounded(response, MAX_BYTES)
        stamp = read_stamp(data)
    except InputError as error:
        raise InputError(f"{str(response)!r} {error}") from error
    requests = [one for one in place.requests() if one.removesuffix(REQUEST) == (name or one.removesuffix(REQUEST))]
    if not requests:
        raise InputError(f"no timestamp of {str(path)!r} was requested: imgaudit timestamp request comes first")
    reasons = []
    for one in requests:
        stamped = one.removesuffix(REQUEST)
        reason = find_mismatch(stamp, read_request(place.read(one)))
        target = place.target(stamped)
        if not reason and (target is None or not is_stamp_of(stamp, _read_target(target))):
            reason = f"{stamped} was changed since the request"
        if not reason:
            return place.write_numbered(stamped, RESPONSE, data), stamp
        reasons.append(f"{one}: {reason}")
    raise InputError(f"{str(response)!r} answers no request here: {'; '.join(reasons)}")


def check_timestamps(run: RunFolder, roots: Sequence[Path] = ()) -> Check:
    """Check the timestamps of a run with root certificates; without any say which timestamps were not checked.

    Raises InputError for a certificate that cannot be read.
    """
    return _check(Place.of_run(run), roots)


def check_file_timestamps(file: Path, roots: Sequence[Path] = ()) -> Check:
    """Check the timestamps beside a file that belongs to no run, as `check_timestamps` does those of a run."""
    return _check(Place(file.parent, only=file.name), roots)


@dataclass
class _Found:
    """What the timestamps of one place have shown so far."""

    done: list[str] = field(default_factory=list)
    not_done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stamped: set[str] = field(default_factory=set)
    """Names of files whose time is shown."""


def _check(place: Place, roots: Sequence[Path]) -> Check:
    responses = list(place.responses())
    waiting = {one.removesuffix(REQUEST) for one in place.requests()} - {name for _, name in responses}
    found = _Found(not_done=[f"timestamps: one of {name!r:.200} was requested, and no response is attached"
                             for name in sorted(waiting)])  # fmt: skip
    if not roots:
        count = (
            f"{len(responses)}, because no root certificate was given (--tsa-root)" if responses else "there is none"
        )
        return Check(name=NAME, not_done=(f"timestamps: {count}", *found.not_done))
    authority = read_authority(roots)
    if not responses:
        found.problems.append(f"there is no timestamp in {str(place.folder)!r}, although a root certificate was given")
    for file, name in responses:
        try:
            _check_response(place, file, name, authority, found)
        except InputError as error:
            found.problems.append(f"{file!r:.200} {error}")
    if place.run is not None and responses and found.stamped <= {SEAL, SEAL + ENVELOPE} and not found.problems:
        found.not_done.append("timestamps: the result has none; only the seal has")
    return Check(name=NAME, done="; ".join(found.done), not_done=tuple(found.not_done), problems=tuple(found.problems))


def _check_response(place: Place, file: str, name: str, authority: Authority, found: _Found) -> None:
    """Note what one timestamp shows. Raises InputError, whose message completes "the file ..."."""
    target = place.target(name)
    if target is None or not target.is_file():
        raise InputError(f"is a timestamp of {name!r:.200}, which is not here")
    data = _read_target(target)
    stamp = read_stamp(place.read(file))
    if not is_stamp_of(stamp, data):
        raise InputError(f"stamps other content than {name} has: of another run, or from before it was changed")
    if name + REQUEST in place.names() and (reason := find_mismatch(stamp, read_request(place.read(name + REQUEST)))):
        raise InputError(f"does not answer {name + REQUEST}: {reason}")
    verify_stamp(stamp, data, authority)
    if name.endswith(ENVELOPE) and (difference := _stale(place, name, data)):
        found.not_done.append(f"{file!r:.200} is for {name}, but the signature in it {difference}")
        return
    found.stamped.add(name)
    found.done.append(f"{name} existed at {stamp} ({file}, checked with {', '.join(authority.names)})")
    found.not_done += _note_late_seal(place, name, stamp)


def _stale(place: Place, name: str, data: bytes) -> str:
    """Return why a stamped signature is of an earlier state of the run; empty when it is of the present one.

    Raises InputError, whose message completes "the file ...", when it is about something else.
    """
    try:
        statement = read_statement(read_envelope(data).payload)
        said = signed_run(statement)
    except InputError as error:
        raise InputError(f"is for {name}, but that {error}") from error
    if said is not None and place.run is not None:
        difference = next(run_differences(statement, said, place.run), "")
        same = said.run == run_id(place.run)
    else:
        file = place.target(name.removesuffix(ENVELOPE))
        if file is None or not file.is_file():
            raise InputError(f"is for {name}, which covers nothing that is here")
        difference, same = next(file_differences(statement, file), ""), False
    if difference and not same:
        raise InputError(f"is for {name}, but the signature in it {difference}")
    return difference


def _note_late_seal(place: Place, name: str, stamp: Stamp) -> Iterator[str]:
    """Say when the timestamp of a seal does not show that it was there before the audit began."""
    if place.run is None or not name.startswith(SEAL):
        return
    try:
        started = datetime.fromisoformat(str(read_json(place.run.manifest_path)["started"]))
        late = stamp.time > started
    except (RunFolderError, ValueError, TypeError, KeyError):
        yield f"timestamps: {name} could not be compared with the beginning of the audit, which the run does not say"
        return
    if late:
        yield (
            f"timestamps: {name} was stamped after the audit began ({started:%Y-%m-%d %H:%M:%S} UTC by the clock of "
            "its machine), so that its timestamp does not show that it was fixed before"
        )


def _choose(path: Path) -> tuple[Place, str]:
    """Return where a timestamp is kept, and the name of what is stamped."""
    place = Place.of_path(path)
    if place.run is None or not path.is_dir():
        return place, path.name
    mine = [name for name in place.envelopes() if not name.startswith(SEAL)]
    if len(mine) > 1:
        one = place.folder / mine[-1]
        raise InputError(f"{str(path)!r} has {len(mine)} signatures: name one of them, such as {str(one)!r}")
    if not mine and not (place.run.path / "evidence.json").is_file():
        raise RunFolderError(f"{str(path)!r} has no evidence.json: it is not a finished run")
    return place, mine[0] if mine else "evidence.json"


def _read_target(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_STAMPED, follow_links=False)
    except InputError as error:
        raise InputError(f"{str(path)!r} {error}") from error
