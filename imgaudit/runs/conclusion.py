"""Conclude a run from its files: match, decide, sum up. Needs no model, and can be done again at any time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_images, conclude_skipped
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.index.near_duplicates import find_near_duplicates
from imgaudit.io.framing import frame_image, to_tensor
from imgaudit.io.json_stream import format_list, read_json_in_pieces
from imgaudit.io.reading import read_bounded
from imgaudit.io.scratch import open_scratch_file
from imgaudit.io.screening import THUMBNAIL_SIDE
from imgaudit.io.stored_rows import StoredRows
from imgaudit.io.writing import format_json, read_json, read_png, write_atomically
from imgaudit.runs.continuation import read_commands
from imgaudit.runs.cross_matches import cross_match
from imgaudit.runs.evidence import is_listed
from imgaudit.runs.folder import MAX_TENSOR_BYTES, RunFolder
from imgaudit.runs.history import read_history
from imgaudit.runs.manifest import require_whole
from imgaudit.runs.model_checks import read_model_checks
from imgaudit.runs.reference import Reference, read_reference
from imgaudit.runs.seal import describe_seal, read_run_seal
from imgaudit.runs.summary import FindingCounts
from imgaudit.schema.findings import WORDING_VERSION, AuditResult, Finding, PartEvidence, Verdict
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import DECIDING_RUNGS, Measurement, Rung, RungMeasurement, SkippedImage
from imgaudit.schema.replication import PartReplication
from imgaudit.schema.stored_findings import StoredFindings, list_contents
from imgaudit.similarity.descriptors import Descriptor
from imgaudit.similarity.matcher import Matcher
from imgaudit.similarity.parts import compare_images


def _describe(path: Path, descriptor: Descriptor) -> npt.NDArray[np.float32]:
    [vector] = descriptor.describe(to_tensor(read_png(path))[None])
    return np.asarray(vector, dtype=np.float32)


def _paths(run: RunFolder, measurement: Measurement) -> list[Path]:
    """Every image of the run that a conclusion on one target rests on."""
    folder = run.image_folder(measurement.id)
    ladder = [one for one in measurement.rungs.values() if isinstance(one, RungMeasurement)]
    replicas = [run.path / replica.path for measured in ladder for replica in measured.valid]
    return [folder / "target.png", folder / "rendered.png", *replicas]


def _damaged(run: RunFolder, measurements: Iterable[Measurement]) -> dict[str, SkippedImage]:
    """Targets whose files in the run cannot be read, with what to do."""
    found = {}
    for measurement in measurements:
        try:
            for path in _paths(run, measurement):
                read_png(path)
        except RunFolderError as error:
            again = f"delete images/{measurement.id} in the run folder and give the command of the audit again"
            found[measurement.id] = SkippedImage(
                path=measurement.path, skipped=f"{error}; to measure it again, {again}"
            )
    return found


def match_run(
    run: RunFolder, measurements: Sequence[Measurement], matcher: Matcher, groups: Sequence[Sequence[str]] = ()
) -> tuple[dict[str, list[tuple[str, float]]], dict[Rung, CrossMatches]]:
    """Near-duplicates among the targets, and every replica against every target and decoy, from the files of a run.

    Measurements are taken one after the other, several times. Of the pictures none stays in memory.
    Raises RunFolderError when a file is missing or damaged.
    """
    descriptor = matcher.deciding()
    ids, asked = list[str](), {rung: list[str]() for rung in DECIDING_RUNGS}
    with open_scratch_file() as file:
        thumbnails = StoredRows(file, (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), np.uint8)
        for measurement in measurements:
            ids.append(measurement.id)
            target = read_png(run.image_folder(measurement.id) / "target.png")
            thumbnails.append(np.asarray(frame_image(target, THUMBNAIL_SIDE, Framing.SQUASH))[None])
            for rung, names in asked.items():
                if isinstance(measurement.ladder(rung), RungMeasurement):
                    names.append(measurement.id)
        duplicates = find_near_duplicates(ids, thumbnails)
    crossed: dict[Rung, CrossMatches] = {}
    decoys = _decoys(run, descriptor)
    for rung, names in asked.items():
        if names:
            rendered = ((name, _describe(run.image_folder(name) / "rendered.png", descriptor)) for name in names)
            replicas = (
                (m.id, np.stack([_describe(run.path / replica.path, descriptor) for replica in measured.valid]))
                for m in measurements
                if isinstance(measured := m.ladder(rung), RungMeasurement) and measured.valid
            )
            crossed[rung] = cross_match(rendered, replicas, decoys=decoys, groups=groups)
    return duplicates, crossed


def _decoys(run: RunFolder, descriptor: Descriptor) -> npt.NDArray[np.float32] | None:
    if not run.decoys_path.is_file():
        return None
    try:
        vectors = load(read_bounded(run.decoys_path, MAX_TENSOR_BYTES))[descriptor.name]
        if vectors.dtype is not torch.float32 or vectors.dim() != 2 or vectors.shape[1] != descriptor.dimension:
            given = f"{vectors.dtype} {tuple(vectors.shape)}"
            raise InputError(f"vectors of {descriptor.dimension} float32 are expected, and {given} is there")
        return np.asarray(vectors.numpy())
    except (InputError, KeyError, SafetensorError) as error:
        raise RunFolderError(f"{str(run.decoys_path)!r} is damaged ({error}): delete it and audit again") from error


def conclude(run: RunFolder, policy: Policy | None = None) -> AuditResult:
    """Decide a run from its files and write report.json. Needs no model; `imgaudit.report.finish_run` comes next.

    policy: another one than was fixed before the run; the result is then marked as decided again
    Raises what :func:`decide_run` raises.
    """
    result = decide_run(run, policy)
    write_result(run, result)
    return result


def write_result(run: RunFolder, result: AuditResult) -> None:
    """Write report.json, one finding in memory at a time beside the result."""
    write_atomically(run.report_path, _format_result(result))


def _format_result(result: AuditResult) -> Iterator[str]:
    """Yield what `format_json` gives of a result, in pieces."""
    around = format_json(_dump_around(result))
    # The list of findings comes last.
    yield around.removesuffix('  "findings": []\n}\n')
    yield from format_list("findings", map(format_json, list_contents(result.findings)))
    yield "\n}\n"


def _dump_around(result: AuditResult) -> dict[str, Any]:
    """Return what report.json holds but for its findings."""
    return result.model_copy(update={"findings": []}).model_dump(mode="json")


def is_current(run: RunFolder, result: AuditResult) -> bool:
    """Tell whether report.json holds this result already, and evidence.json names it."""
    if not is_listed(run, run.report_path.name):
        return False
    contents, same = list_contents(result.findings), True

    def compare(held: object) -> None:
        nonlocal same
        same = same and next(contents, None) == held

    held = read_json_in_pieces(run.report_path, {"findings": compare})
    return same and next(contents, None) is None and held == _dump_around(result)


def read_decided_policy(run: RunFolder, default: Policy) -> Policy:
    """Return the policy that report.json was decided by; the default where there is no report that can be read."""
    try:
        around = run.read_report_around()
        return Policy.model_validate(around["policy"] if isinstance(around, dict) else None)
    except (RunFolderError, LookupError, TypeError, ValidationError):
        return default


def decide_run(
    run: RunFolder, policy: Policy | None = None, *, on_finding: Callable[[Finding], None] | None = None
) -> AuditResult:
    """Decide a run from its files, and write nothing.

    Targets whose files are damaged become skipped findings.
    policy:      another one than was fixed before the run; the result is then marked as decided again
    on_finding:  called with each finding, one after the other; the result then holds none of them
    Raises RunFolderError for a manifest, bank or decoys that cannot be read, and for a part of an audit.
    """
    manifest = require_whole(run)
    policy = policy or manifest.policy
    bank = NullBank.read(run.calibration_path) if run.calibration_path.is_file() else None
    measurements, skipped = run.open_measurements()
    if skipped:
        measured = {measurement.path for measurement in measurements}
        skipped = [one for one in skipped if one.path not in measured]
    try:
        duplicates, crossed = match_run(run, measurements, Matcher(), manifest.groups)
    except RunFolderError:
        damaged = _damaged(run, measurements)
        if not damaged:
            raise
        measurements = measurements.without(damaged)
        skipped += damaged.values()
        duplicates, crossed = match_run(run, measurements, Matcher(), manifest.groups)
    checks = read_model_checks(run)
    evidence = Evidence(
        bank, manifest.protocol, policy, duplicates, manifest.groups, cross_matches=crossed,
        model_checks=checks.checks if checks else (), copy_descriptor=manifest.copy_descriptor,
    )  # fmt: skip
    decision = FolderDecision(measurements, evidence)
    reference = read_reference(run)
    concluded = chain(conclude_images(decision), map(conclude_skipped, skipped))
    counts, findings = FindingCounts(policy.level), StoredFindings()
    keep = on_finding or findings.append
    for finding in concluded:
        counts.add(finding)
        keep(_complete(run, finding, reference))
    return AuditResult(
        wording=WORDING_VERSION,
        run=_describe_run(run, manifest),
        protocol=manifest.protocol,
        policy=policy,
        redecided=policy.differences(manifest.policy),
        summary=counts.summarise(decision, manifest.files_given).model_copy(update={"model_checks": checks}),
        findings=[],
    ).model_copy(update={"findings": findings})


def _describe_run(run: RunFolder, manifest: AuditManifest) -> dict[str, Any]:
    """Return what the result says of the run: its manifest, seal, and the commands that it comes from."""
    described: dict[str, Any] = read_json(run.manifest_path)
    if continued := read_commands(run):
        described["continued"] = continued
    if deciding := read_history(run).deciding:
        described["history"] = deciding
    if seal := read_run_seal(run):
        described["seal"] = describe_seal(seal, manifest)
    return described


def _complete(run: RunFolder, finding: Finding, reference: Reference | None) -> Finding:
    """Add to a finding what was found in the reference collection, and where a part of the image came back."""
    added: dict[str, object] = {}
    if (part := _locate_part(run, finding)) is not None:
        added["part"] = part
    if reference is not None:
        added["reference"] = reference.find(finding.id)
    return finding.model_copy(update=added) if added else finding


def _locate_part(run: RunFolder, finding: Finding) -> PartEvidence | None:
    """Locate where target and generated image agree, for the lowest rung that returns a part, from their files.

    Where no rung does so beyond the controls, and the image is partly replicated all the same, the lowest on which the
    copy descriptor tells at least a part.
    """
    tested = [one for one in finding.replication if one.part_stands]
    told = [one for one in finding.replication if one.partly_stands and finding.verdict is Verdict.PARTIAL]
    for replication in tested or told:
        if isinstance(part := replication.part, PartReplication) and part.closest.area > 0:
            target = to_tensor(read_png(run.image_folder(finding.id) / "rendered.png"))
            pair = compare_images(target, to_tensor(read_png(run.path / part.path)))
            return PartEvidence(
                rung=replication.rung, path=part.path, seed=part.seed, pair=pair, is_tested=bool(tested)
            )  # fmt: skip
    return None
