"""A finished part of an audit, read by whoever merges: its files are a stranger's, and none is trusted.

A part is refused, with the reason, unless its evidence.json names exactly the files that are there, all of them are
files that a part has, and each of its images has a record.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imgaudit.exceptions import RunFolderError, VerificationError
from imgaudit.io.reading import open_regular
from imgaudit.io.writing import MAX_LINE_BYTES, split_lines
from imgaudit.runs.evidence import (
    EVIDENCE,
    GROWING,
    EvidenceFile,
    EvidenceList,
    check_chain,
    hash_beginning,
    read_evidence,
)
from imgaudit.runs.folder import RunFolder, parse_record
from imgaudit.runs.inventory import list_run
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.verification.limits import require_small_contents, require_small_files
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.records import Measurement, SkippedImage
from imgaudit.schema.shard import Shard

SINGLE = {
    "manifest.json", "records.jsonl", "calibration.json", "decoys.safetensors", "model_checks.json", "seal.json",
    "reference.json", *GROWING,
}  # fmt: skip
"""Files that a part has at most one of each."""

PICTURE = re.compile(
    r"images/(?P<image>[0-9a-f]{16})/(replicas/)?[A-Za-z0-9][A-Za-z0-9.+_-]{0,100}"
    r"|report/thumbs/(?P<shown>[0-9a-f]{16})-(target|best)\.jpg"
)
"""Files of one image: in its folder, and what the index shows of it."""

SHOWN = 5
"""Problems that a message lists."""


@dataclass(frozen=True)
class Part:
    """A finished part whose list of files and records were checked. Its pictures are compared as they are copied."""

    folder: RunFolder
    """Its folder."""
    manifest: AuditManifest
    """Its manifest."""
    shard: Shard
    """Its number."""
    head: str
    """End of the chain in its evidence.json."""
    files: dict[str, EvidenceFile]
    """Its files by path, as evidence.json names them."""
    places: dict[str, int] = field(default_factory=dict)
    """Places of the records that count in records.jsonl, by the SHA-256 of the image."""
    skipped: dict[str, SkippedImage] = field(default_factory=dict)
    """Files that were not measured, by path."""

    @property
    def name(self) -> str:
        """Number and folder, for messages."""
        return f"{self.shard} in {str(self.folder.path)!r}"

    @property
    def pictures(self) -> Iterator[EvidenceFile]:
        """The files of its images."""
        return (one for name, one in self.files.items() if name not in SINGLE)

    def read_line(self, sha256: str) -> bytes:
        """Return the record of an image as the line that it is. Raises RunFolderError when it is no longer there."""
        with open_regular(self.folder.records_path) as file:
            file.seek(self.places[sha256])
            line = file.readline(MAX_LINE_BYTES)
        record = parse_record(line)
        if not isinstance(record, Measurement) or record.sha256 != sha256:
            raise RunFolderError(f"{self.name}: 'records.jsonl' was changed while it was read")
        return line


def read_part(path: Path) -> Part:
    """Read a finished part. Raises RunFolderError that names the folder and says what is wrong with it."""
    run = RunFolder(path)
    if not run.manifest_path.is_file():
        raise RunFolderError(f"{str(path)!r} is not a shard of an audit: it has no manifest.json")
    inventory = list_run(path)
    try:
        _refuse(path, inventory.refused)
        require_small_files(inventory)
        manifest = read_manifest(run)
        if manifest.shard is None:
            raise RunFolderError(f"{str(path)!r} is a whole audit, and no shard of one")
        if EVIDENCE not in inventory.files:
            raise RunFolderError(
                f"{manifest.shard} in {str(path)!r} is not finished: give its command again, then merge"
            )
        require_small_contents(run, inventory, manifest.model.resolution)
    except VerificationError as error:
        raise RunFolderError(f"{str(path)!r}: {error}") from error
    listed = read_evidence(run)
    if not isinstance(listed, EvidenceList):
        raise RunFolderError(f"{str(path)!r} has an evidence.json of an older version: measure the shard again")
    files = {one.path: one for one in (*listed.files, *listed.pages, *listed.growing)}
    part = Part(run, manifest, manifest.shard, listed.head, files)
    _refuse(path, (*check_chain(listed), *_compare_names(part, inventory.files)))
    _refuse(path, _read_records(part))
    return part


def _refuse(path: Path, problems: Iterator[str] | tuple[str, ...]) -> None:
    """Raise RunFolderError that lists the first problems, if there are any."""
    found = []
    for problem in problems:
        found.append(problem)
        if len(found) == SHOWN:
            break
    if found:
        raise RunFolderError(f"{str(path)!r} cannot be merged: {'; '.join(found)}")


def _compare_names(part: Part, there: Mapping[str, int]) -> Iterator[str]:
    """Yield files that are missing, of another size or added, and files that no part has."""
    own = {sha256[:16] for sha256 in part.manifest.own_images}
    for name, one in part.files.items():
        if there.get(name) != one.bytes:
            yield f"{name!r:.200} is {'missing' if name not in there else 'not the file that evidence.json names'}"
        elif name not in SINGLE and not _is_picture(name, own):
            yield f"{name!r:.200} is no file of {part.shard}"
        elif name in SINGLE and hash_beginning(part.folder, name)[0] != one.sha256:
            yield f"{name!r:.200} was changed: it is not the file that evidence.json names"
    for name in there:
        if name not in part.files and name != EVIDENCE:
            yield f"{name!r:.200} was added after the shard was finished"


def _is_picture(name: str, own: set[str]) -> bool:
    found = PICTURE.fullmatch(name)
    return found is not None and (found["image"] or found["shown"]) in own


def _read_records(part: Part) -> Iterator[str]:
    """Note where the records that count are, and yield what is wrong with them; damaged lines count for nothing."""
    paths = {target.sha256: target.path for target in part.manifest.targets}
    own = part.manifest.own_images
    known = {paths[sha256] for sha256 in own} | {one.path for one in part.manifest.skipped}
    place = 0
    for line in split_lines(part.folder.records_path):
        record = parse_record(line) if line.strip() else None
        if isinstance(record, SkippedImage):
            part.skipped[record.path] = record
            if record.path not in known:
                yield f"'records.jsonl' skips {record.path!r:.200}, which is no image of {part.shard}"
        elif isinstance(record, Measurement):
            part.places[record.sha256] = place
            if record.sha256 not in own or record.id != record.sha256[:16]:
                yield f"'records.jsonl' has a record of {record.path!r:.200}, which is no image of {part.shard}"
            elif record.path != paths[record.sha256]:
                yield f"'records.jsonl' calls {record.path!r:.200} what 'manifest.json' calls by another name"
            elif not part.folder.has_images(record):
                yield f"pictures of {record.path!r:.200} are missing"
        place += len(line)
    lacking = [paths[sha256] for sha256 in sorted(own) if sha256 not in part.places]
    lacking = [path for path in lacking if path not in part.skipped]
    if lacking:
        yield f"{len(lacking)} images have no record (such as {lacking[0]!r:.200}): give the shard's command again"
