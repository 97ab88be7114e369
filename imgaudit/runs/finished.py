"""Read a finished run that somebody else may have made: every value is checked, and nothing is trusted.

Needs neither torch nor a model, so that pages and reviews start at once.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.verdict import conclude_skipped
from imgaudit.exceptions import RunFolderError
from imgaudit.io.json_stream import read_json_in_pieces
from imgaudit.io.reading import hash_file
from imgaudit.io.writing import MAX_PIECES_BYTES, read_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import read_manifest, require_whole
from imgaudit.schema.findings import AuditResult, Finding
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.records import REPLICA_PATH, SCHEMA_VERSION, Measurement, Skipped, SkippedImage
from imgaudit.schema.stored_findings import StoredFindings

NOT_REACHED = "the audit was stopped before it reached this file"


@dataclass(frozen=True)
class FinishedRun:
    """A run's conclusions with the manifest, measurements and bank that they were decided from."""

    folder: RunFolder
    """Folder of the run."""
    manifest: AuditManifest
    """Manifest of the run."""
    result: AuditResult
    """Conclusions of the run."""
    measurements: Mapping[str, Measurement]
    """Measurements by id of the image."""
    bank: NullBank | None
    """The null bank that was used."""

    @cached_property
    def images(self) -> dict[str, Finding]:
        """Findings by the SHA-256 of their files, with every file that was given and could be read at least once."""
        hashes = {target.path: target.sha256 for target in self.manifest.targets}
        # What was measured comes last, so that a skipped file of the same path never takes its place.
        findings = sorted(self.result.findings, key=lambda finding: bool(finding.sha256))
        known = {finding.sha256 or hashes.get(finding.path, ""): finding for finding in findings}
        known.pop("", None)
        for target in self.manifest.targets:
            if target.sha256 not in known:
                known[target.sha256] = conclude_skipped(SkippedImage(path=target.path, skipped=NOT_REACHED))
        return known

    @cached_property
    def unreadable(self) -> list[Finding]:
        """Files without a SHA-256: nothing in another run can be matched with them."""
        ids = {finding.id for finding in self.images.values()}
        return [finding for finding in self.result.findings if not finding.sha256 and finding.id not in ids]

    @cached_property
    def texts(self) -> dict[str, str]:
        """SHA-256 over the texts that an image was asked for with, by the image's SHA-256."""
        return {target.sha256: target.texts_sha256 for target in self.manifest.targets}


def read_result(run: RunFolder) -> AuditResult:
    """Read report.json, one finding at a time.

    Raises RunFolderError when the folder is not a run, not finished, or the report is damaged.
    """
    if not run.manifest_path.is_file():
        raise RunFolderError(f"{str(run.path)!r} is not a run folder: it has no manifest.json")
    if not run.report_path.is_file():
        require_whole(run)
        raise RunFolderError(
            f"{str(run.path)!r} is not a finished run: it has no report.json; imgaudit report writes it"
        )
    findings = StoredFindings()

    def take(content: object) -> None:
        try:
            findings.append_content(content)
        except ValidationError as error:
            raise _damaged(run, f"findings.{len(findings)}.{describe_problem(error)}") from error

    content = read_json_in_pieces(run.report_path, {"findings": take})
    try:
        return AuditResult.model_validate(content).model_copy(update={"findings": findings})
    except ValidationError as error:
        raise _damaged(run, describe_problem(error)) from error


def run_id(run: RunFolder) -> str:
    """Return the first 16 hex digits of the SHA-256 of manifest.json, which is written once.

    Raises RunFolderError when there is none.
    """
    return _digest(run.manifest_path)[:16]


def result_digest(run: RunFolder) -> str:
    """Return the SHA-256 of report.json. Raises RunFolderError when there is none."""
    return _digest(run.report_path)


def read_finished_run(path: Path) -> FinishedRun:
    """Read a run folder. Raises RunFolderError when it is not a run, not finished, damaged, or not of one piece."""
    folder = RunFolder(path)
    result, manifest = read_result(folder), read_manifest(folder)
    for file in (folder.manifest_path, folder.report_path):
        _require_utf8(file)
    bank = NullBank.read(folder.calibration_path).by_work() if folder.calibration_path.is_file() else None
    measurements = {one.id: one for one in folder.read_measurements()[0] if _is_scored(one)}
    run = FinishedRun(folder, manifest, result, measurements, bank)
    _require_consistency(run)
    return run


def _is_scored(measurement: Measurement) -> bool:
    """Return whether every generated image has the deciding measures; a record without them is treated as lost."""
    ladder = [one for one in measurement.rungs.values() if not isinstance(one, Skipped)]
    return all(
        isinstance(replica.distance, dict)
        and {DECIDING_DISTANCE} <= replica.distance.keys()
        and isinstance(replica.similarity, dict)
        and {DECIDING_DESCRIPTOR} <= replica.similarity.keys()
        for measured in ladder
        for replica in measured.valid
    )


def _require_utf8(path: Path) -> None:
    """Refuse JSON with characters that no encoding has: they could be neither printed nor written."""
    try:
        json.dumps(read_json(path), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise RunFolderError(f"{str(path)!r} is damaged: its text is not UTF-8 ({error.reason})") from error


def _digest(path: Path) -> str:
    try:
        return hash_file(path, MAX_PIECES_BYTES)
    except OSError as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error.strerror}; is this a finished run?") from error


def _damaged(folder: RunFolder, what: str) -> RunFolderError:
    return RunFolderError(
        f"{str(folder.report_path)!r} is damaged or of another version: {what}; imgaudit report writes it again"
    )


def _require_consistency(run: FinishedRun) -> None:
    """Refuse a report that contradicts its manifest or itself: it cannot be compared with anything."""
    result, folder = run.result, run.folder
    if result.schema_version != SCHEMA_VERSION:
        raise _damaged(folder, f"format {result.schema_version}, expected {SCHEMA_VERSION}")
    if result.protocol != run.manifest.protocol or result.protocol.hash != run.manifest.protocol_hash:
        raise _damaged(folder, "its protocol is not the manifest's")
    model = result.run.get("model")
    if not isinstance(model, dict) or model.get("fingerprint") != run.manifest.model.fingerprint:
        raise _damaged(folder, "its model is not the manifest's")
    if result.redecided != result.policy.differences(run.manifest.policy):
        raise _damaged(folder, "it does not say by which policy it was decided")
    _require_known_images(run)


def _require_known_images(run: FinishedRun) -> None:
    """Refuse a run that lists an image twice, under another hash, or with pictures outside the run."""
    folder, targets = run.folder, run.manifest.targets
    if any(not re.fullmatch("[0-9a-f]{64}", target.sha256) for target in targets):
        raise RunFolderError(f"{str(folder.manifest_path)!r} is damaged: an image's sha256 is not one")
    if len({target.sha256 for target in targets}) < len(targets):
        raise RunFolderError(f"{str(folder.manifest_path)!r} is damaged: it lists an image twice")
    given = {target.sha256 for target in targets}
    seen: set[str] = set()
    for finding in run.result.findings:
        if finding.id in seen:
            raise _damaged(folder, f"it lists {finding.id} twice")
        seen.add(finding.id)
        if finding.sha256 and (finding.sha256 not in given or finding.sha256[:16] != finding.id):
            raise _damaged(folder, f"finding {finding.id} is of no image in the manifest")
        replica = finding.best_replica
        if isinstance(replica, Skipped):
            continue
        if not re.fullmatch(REPLICA_PATH, replica.path) or not replica.path.startswith(f"images/{finding.id}/"):
            raise _damaged(folder, f"finding {finding.id} names a file outside its place")
