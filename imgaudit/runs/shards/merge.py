"""The run merged from all parts of an audit: what the audit would have left in one piece.

It is made in a folder beside the one that was asked for, OUT.merging, and gets its name when it is complete. A kill
leaves OUT.merging; the same command uses what is in it again. Nothing in the parts is changed.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.reading import format_path, hash_file, read_bounded
from imgaudit.io.writing import UNFINISHED, append_bytes, append_lines, remove_file, write_atomically, write_json
from imgaudit.runs.attestation.place import FOLDER as ATTESTATIONS
from imgaudit.runs.attestation.place import copy_attestations
from imgaudit.runs.callbacks import OnNote, OnProgress
from imgaudit.runs.evidence import EvidenceFile
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation, read_history
from imgaudit.runs.inventory import list_run
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.reference import FILE as REFERENCE
from imgaudit.runs.reference import Reference, read_reference
from imgaudit.runs.shards.agreement import find_machine_notes, require_one_audit
from imgaudit.runs.shards.reading import SINGLE, Part, read_part
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.manifest import AuditManifest, MergedShard

COPIED = ("calibration.json", "decoys.safetensors", "model_checks.json")
"""Files that the run has from the first part."""

BLOCK = 8 * 2**20
"""Bytes of records that are written at once."""

OWN = {*SINGLE, "report.json", "evidence.json", "images", "report", ".lock", ".lock-holder", ".history-lock",
       "attestations"}  # fmt: skip
"""Names of what a merge leaves when it is killed."""


def read_parts(folders: Sequence[Path], on_progress: OnProgress) -> list[Part]:
    """Read all parts of an audit, in order of their numbers.

    Raises RunFolderError for parts that are missing, given twice, not finished, damaged, or of another audit.
    """
    if not folders:
        raise InputError("no shards were given: name the folders of all shards")
    parts = []
    for done, folder in enumerate(folders):
        on_progress("checking shards", done, len(folders))
        parts.append(read_part(folder))
    on_progress("checking shards", len(folders), len(folders))
    parts.sort(key=lambda part: (part.shard.number, str(part.folder.path)))
    require_one_audit(parts)
    return parts


def find_merged(out: Path, parts: Sequence[Part]) -> AuditResult | None:
    """Return the result of a run that was merged from the same parts before; None where there is nothing yet.

    Raises RunFolderError when something else is there.
    """
    if not out.exists() and not out.is_symlink():
        return None
    run = RunFolder(out)
    if run.manifest_path.is_file():
        merged = read_manifest(run).merged
        if [one.head for one in merged] == [part.head for part in parts]:
            return read_result(run)
    elif out.is_dir() and not any(out.iterdir()):
        return None
    raise RunFolderError(
        f"{str(out)!r} exists already, and is not the run merged from these shards; name another --out"
    )


@contextmanager
def merging(
    parts: Sequence[Part], out: Path, command: Sequence[str], on_progress: OnProgress, on_note: OnNote
) -> Iterator[tuple[RunFolder, Invocation]]:
    """Merge parts into a run that the caller decides and finishes inside the context; then it gets its name.

    Yields the run, held, and the line of its history. Raises RunFolderError for a file that is not the one that its
    part's evidence.json names.
    """
    run = RunFolder(out.with_name(out.name + ".merging"))
    names = {one.name for one in run.path.iterdir()} if run.path.is_dir() else set()
    if others := [name for name in sorted(names - OWN) if not UNFINISHED.fullmatch(name)]:
        raise RunFolderError(f"{str(run.path)!r} holds {others[0]!r:.80}, which no merge left there: remove it")
    for note in find_machine_notes(parts):
        on_note(f"note: {note}")
    manifest, reference = _make_manifest(parts, command), _join_references(parts)
    with run.lock(), Invocation(run, "merge", manifest.command, manifest.operator) as invocation:
        on_progress = invocation.noticing(on_progress)
        _clear(run, parts)
        _copy_pictures(run, parts, on_progress)
        _write_records(run, parts)
        _write_rest(run, parts)
        if reference is not None:
            write_json(run.path / REFERENCE, reference.model_dump(mode="json"))
        write_json(run.manifest_path, manifest.model_dump(mode="json"))
        invocation.start(decides=True)
        invocation.changes |= {"shards": len(parts), "images_measured": sum(len(part.places) for part in parts)}
        yield run, invocation
    if hasattr(os, "sync"):
        os.sync()
    run.path.rename(out)


def _make_manifest(parts: Sequence[Part], command: Sequence[str]) -> AuditManifest:
    """Return the manifest of the whole: that of the first part, which says what it was merged from."""
    first = parts[0].manifest
    return first.model_copy(
        update={
            "command": [format_path(one) for one in command],
            "started": min(part.manifest.started for part in parts),
            "shard": None,
            "merged": [_describe(part) for part in parts],
        }
    )


def _describe(part: Part) -> MergedShard:
    manifest = part.manifest
    return MergedShard(
        shard=part.shard, head=part.head,
        commands=[one.start.command for one in read_history(part.folder).entries if one.start.decides],
        versions=manifest.versions, device=manifest.device, threads=manifest.threads, platform=manifest.platform,
        started=manifest.started, operator=manifest.operator,
    )  # fmt: skip


def _clear(run: RunFolder, parts: Sequence[Part]) -> None:
    """Remove what an earlier attempt left, but for pictures that are needed again."""
    needed = {one.path for part in parts for one in part.pictures}
    inventory = list_run(run.path)
    for name in inventory.files:
        if name not in needed:
            remove_file(run.path / name)


def _copy_pictures(run: RunFolder, parts: Sequence[Part], on_progress: OnProgress) -> None:
    total, done = sum(1 for part in parts for _ in part.pictures), 0
    for part in parts:
        for one in part.pictures:
            on_progress("copying files", done, total)
            if not _is_there(run.path / one.path, one):
                # Waiting for each of so many files to be on disk takes long; all are waited for at the end.
                write_atomically(run.path / one.path, _read_listed(part, one.path), durable=False)
            done += 1
    on_progress("copying files", total, total)


def _is_there(path: Path, one: EvidenceFile) -> bool:
    """Tell whether an earlier attempt has copied a file to its end."""
    try:
        return hash_file(path, one.bytes) == one.sha256
    except OSError:
        return False


def _read_listed(part: Part, name: str) -> bytes:
    """Return a file of a part. Raises RunFolderError when it is not the one that evidence.json names."""
    listed = part.files[name]
    try:
        data = read_bounded(part.folder.path / name, listed.bytes)
    except InputError as error:
        raise RunFolderError(f"{part.name}: {name!r:.200} {error}") from error
    if hashlib.sha256(data).hexdigest() != listed.sha256:
        raise RunFolderError(
            f"{part.name}: {name!r:.200} is not the file that evidence.json names: it was changed after the shard was "
            "finished. Nothing was merged; measure the shard again, in a new folder"
        )
    return data


def _write_records(run: RunFolder, parts: Sequence[Part]) -> None:
    """Write all records: files that were not measured in the order of the manifest, then images by their SHA-256."""
    measured = {digest: part for part in parts for digest in part.places}
    targets = parts[0].manifest.targets
    paths = {target.path for target in targets if target.sha256 in measured}
    skipped = {path: one for part in parts for path, one in part.skipped.items() if path not in paths}
    order = [one.path for one in parts[0].manifest.skipped] + [target.path for target in targets]
    append_lines(
        run.records_path,
        [{"stage": "skipped", **skipped[path].model_dump(mode="json")} for path in order if path in skipped],
    )
    waiting = bytearray()
    for digest in sorted(measured):
        waiting += measured[digest].read_line(digest).rstrip(b"\n") + b"\n"
        if len(waiting) > BLOCK:
            append_bytes(run.records_path, bytes(waiting))
            waiting.clear()
    if waiting:
        append_bytes(run.records_path, bytes(waiting))


def _write_rest(run: RunFolder, parts: Sequence[Part]) -> None:
    """Write what the run has once: null bank, decoys, checks of the model, and seal."""
    first = parts[0]
    for name in COPIED:
        if name in first.files:
            write_atomically(run.path / name, _read_listed(first, name))
    if "seal.json" in first.files:
        write_atomically(run.seal_path, _read_listed(first, run.seal_path.name))
        copy_attestations(first.folder.path / ATTESTATIONS / run.seal_path.name, run, run.seal_path.name)


def _join_references(parts: Sequence[Part]) -> Reference | None:
    """Return what a collection holds of all images; None where the parts were looked up in none."""
    found = [one for part in parts if (one := read_reference(part.folder)) is not None]
    if not found:
        return None
    collections = {one.model_copy(update={"images": {}, "skipped": {}}).model_dump_json() for one in found}
    if len(collections) > 1:
        raise RunFolderError("not all shards were looked up in the same collection, in the same state (--reference)")
    images = {name: one for reference in found for name, one in reference.images.items()}
    skipped = {name: one for reference in found for name, one in reference.skipped.items()}
    return found[0].model_copy(update={"images": images, "skipped": skipped})
