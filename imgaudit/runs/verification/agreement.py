"""manifest.json, report.json and the null bank against each other, field by field."""

from collections.abc import Iterator, Mapping
from typing import Any

from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import CalibrationError
from imgaudit.io.writing import read_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.seal import describe_seal, read_run_seal
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.verification import Check

CONSISTENT = (
    "whether somebody rewrote records, manifest, bank, report and evidence.json so that all of them agree: only a head "
    "that was noted elsewhere, a signature, a seal or a replay shows that"
)

GROWS = ("continued", "history")
"""Keys of report.json's `run` that list commands; more can come after the report."""

SEAL = "seal"
"""Key of report.json's `run` that describes seal.json."""


def check_agreement(run: RunFolder, manifest: AuditManifest, result: AuditResult) -> Check:
    """Compare what manifest.json, report.json and calibration.json say of one another.

    result:  content of report.json
    Raises RunFolderError and CalibrationError for files that are damaged.
    """
    written = read_json(run.manifest_path)
    problems = [
        *_check_hashes(manifest),
        *_compare_report(written | _describe_seal(run, manifest), manifest, result),
        *_check_bank(run, manifest),
    ]
    files = "manifest.json and report.json"
    if run.calibration_path.is_file():
        files = "manifest.json, report.json and calibration.json"
    return Check(
        name="agreement",
        done=f"{files} were compared in {len(written)} fields of the manifest, with the hashes of protocol and policy",
        not_done=(CONSISTENT,),
        problems=tuple(problems),
    )


def _describe_seal(run: RunFolder, manifest: AuditManifest) -> dict[str, Any]:
    """Return what report.json says of the run's seal; empty for a run without one."""
    seal = read_run_seal(run)
    return {SEAL: describe_seal(seal, manifest)} if seal is not None else {}


def _check_hashes(manifest: AuditManifest) -> Iterator[str]:
    if manifest.protocol.hash != manifest.protocol_hash:
        yield "'manifest.json': protocol_hash is not the hash of its protocol"
    if manifest.policy.hash != manifest.policy_hash:
        yield "'manifest.json': policy_hash is not the hash of its policy"
    for key, value in (("seed", manifest.seed), ("operator", manifest.operator)):
        option = manifest.config.get(key)
        if option is not None and option.value != value:
            yield f"'manifest.json': {key} is {value!r:.80}, and its configuration says {option.value!r:.80}"


def _compare_report(written: Mapping[str, Any], manifest: AuditManifest, result: AuditResult) -> Iterator[str]:
    """Yield where report.json contradicts the manifest and the seal, which are given as `written`."""
    said = result.run
    for key in sorted(written.keys() | said.keys() - set(GROWS)):
        file = "seal.json" if key == SEAL else "manifest.json"
        if key not in said:
            yield f"'report.json' lacks {key!r:.40} of the run, which {file} has"
        elif key not in written:
            yield f"'report.json' has {key!r:.40} of the run, which {file} lacks"
        elif said[key] != written[key]:
            yield f"'report.json' names another {key!r:.40} than {file}: {_difference(said[key], written[key])}"
    if result.protocol != manifest.protocol:
        yield "'report.json' has another protocol than manifest.json"
    if result.redecided != (differences := result.policy.differences(manifest.policy)):
        yield (
            "'report.json' does not say by which policy it was decided: "
            f"{'; '.join(differences) or 'it is the one in manifest.json'}"
        )


def _difference(said: Any, written: Any) -> str:
    """Return what two values are, or in which of their keys they differ."""
    if isinstance(said, dict) and isinstance(written, dict):
        keys = [key for key in sorted(said.keys() | written.keys()) if said.get(key) != written.get(key)]
        return ", ".join(f"{key!r:.40}" for key in keys[:5])
    if isinstance(said, list | dict) or isinstance(written, list | dict):
        return "its entries differ"
    return f"{said!r:.80} and {written!r:.80}"


def _check_bank(run: RunFolder, manifest: AuditManifest) -> Iterator[str]:
    """Yield where the null bank contradicts the manifest or itself."""
    if not run.calibration_path.is_file():
        return
    try:
        bank = NullBank.read(run.calibration_path)
        bank.require(manifest.model.fingerprint, manifest.protocol)
    except CalibrationError as error:
        yield f"'calibration.json': {error}"
        return
    controls = [one.sha256 for one in (*bank.controls, *bank.kept_out, *bank.near_copies)]
    if len(set(controls)) < len(controls):
        yield "'calibration.json' lists a control twice"
    named = {sha256 for source in bank.sources for sha256 in source.sha256s}
    if lacking := named - set(controls):
        yield f"'calibration.json' lacks {len(lacking)} of the {len(named)} controls that its sources name"
    if strange := set(controls) - named:
        yield f"'calibration.json' has {len(strange)} controls that its sources do not name"
