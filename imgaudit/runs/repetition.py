"""An audit that is asked for again when its run is finished: nothing would change, so no model is loaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import ImgauditError
from imgaudit.io.portfolio import Portfolio
from imgaudit.models.loading import fingerprint_model
from imgaudit.runs.audit import require_bank, require_controls
from imgaudit.runs.callbacks import ignore_note
from imgaudit.runs.evidence import EVIDENCE
from imgaudit.runs.finished import FinishedRun, read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inputs import AuditInputs, Origin
from imgaudit.runs.manifest import describe_targets, package_versions
from imgaudit.runs.reference_search import is_looked_up
from imgaudit.runs.seal import choose_seal
from imgaudit.runs.sealing import require_seal
from imgaudit.runs.shards.part import summarise_shard, take_shard
from imgaudit.runs.shards.reading import read_part
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.manifest import AuditManifest, KnownOption
from imgaudit.schema.shard import ShardSummary

FREE_KEYS = {"batch_size", "device", "offline", "rescan", "fail_on", "operator", "no_controls"}
"""Keys of the configuration that change nothing in a finished run."""


@dataclass(frozen=True)
class NamedModel:
    """A model as it was named, which is hashed and not loaded."""

    name: str
    """Folder, single file, hub id or bundled lab."""
    loras: Sequence[str] = ()
    """LoRAs with their weights, as FILE[:WEIGHT]."""
    variant: str = ""
    """Variant of its files of weights."""
    config: str = ""
    """Configuration of a single file."""
    compiled: bool = False
    """True when its network is compiled."""
    mitigated: Callable[[str], str] | None = None
    """Returns the fingerprint that it has under a mitigation, from its own; None without one."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint that the model has when it is loaded. Raises ModelRefusedError."""
        own = fingerprint_model(self.name, self.loras, variant=self.variant, config=self.config)
        return self.mitigated(own) if self.mitigated else own


def find_finished_audit(
    out: Path, model: NamedModel, inputs: AuditInputs, config: AuditConfig
) -> AuditResult | None:  # fmt: skip
    """Return the result of a finished run where the same audit would change nothing; None where it has to be made.

    out:  run folder
    Whatever is in doubt is None: the audit then says itself what differs.
    """
    folder = RunFolder(out)
    needed = (folder.manifest_path, folder.report_path, folder.model_checks_path, out / "evidence.json")
    if not all(path.is_file() for path in needed):
        return None
    try:
        run = read_finished_run(out)
        if not (_has_inputs(folder, inputs) and _is_complete(run, inputs)):
            return None
        if not _has_options(run.manifest, inputs, config) or run.result.policy != inputs.policy:
            return None
        if model.fingerprint != run.manifest.model.fingerprint:
            return None
        _require_seal(folder, run.manifest, model, inputs, config)
    except (ImgauditError, OSError):
        return None
    return run.result


def find_finished_shard(
    out: Path, model: NamedModel, inputs: AuditInputs, config: AuditConfig
) -> ShardSummary | None:  # fmt: skip
    """Return what a finished shard holds where the same command would change nothing; None where it has to be made.

    out:  folder of the shard
    Whatever is in doubt is None: the audit then says itself what differs.
    """
    folder = RunFolder(out)
    if not (folder.manifest_path.is_file() and (out / EVIDENCE).is_file()):
        return None
    try:
        part = read_part(out)
        manifest, recorded = part.manifest, folder.recorded()
        own = take_shard(inputs.portfolio, inputs.shard, manifest.chunk_size)
        same = part.shard == inputs.shard and manifest.chunk_size == config.chunk_size
        complete = not any(recorded.skipped.values()) and not recorded.lost
        if not (same and complete and _has_images(manifest, inputs) and _has_inputs(folder, inputs, own)):
            return None
        if not _has_options(manifest, inputs, config) or model.fingerprint != manifest.model.fingerprint:
            return None
        _require_seal(folder, manifest, model, inputs, config)
        return summarise_shard(folder)
    except (ImgauditError, OSError):
        return None


def _has_inputs(folder: RunFolder, inputs: AuditInputs, own: Portfolio | None = None) -> bool:
    """Tell whether the run holds what was made of controls, decoys and reference. Raises RunFolderError for others.

    own:  the images that are measured in this folder, where these are not all
    Of decoys a run holds their vectors alone, and keeps to those that it was begun with.
    """
    controls, reference = inputs.controls, inputs.reference
    if isinstance(controls, NullBank):
        require_bank(folder, controls)
    elif controls is not None:
        require_controls(folder, controls)
    if inputs.leads and inputs.decoys is not None and not folder.decoys_path.is_file():
        return False
    images = [target.image.id for target in (own or inputs.portfolio).targets]
    nulls = bool(inputs.control_images and inputs.control_images.targets)
    if reference is not None and not is_looked_up(folder, reference, images, with_controls=nulls):
        return False
    sealed = inputs.seal is not None
    # A run that keeps to a seal holds its controls, which need not be given again.
    return folder.calibration_path.is_file() == (controls is not None) or (sealed and controls is None)


def _is_complete(run: FinishedRun, inputs: AuditInputs) -> bool:
    """Tell whether every image that was given, with the same texts, was measured and decided."""
    targets, result = inputs.portfolio.targets, run.result
    recorded = run.folder.recorded(with_images=True)
    same = _has_images(run.manifest, inputs)
    decided = {target.image.id for target in targets} <= {one.id for one in result.findings}
    whole = len(result.findings) == result.summary.targets and not recorded.lost
    return same and decided and whole and not any(recorded.skipped.values())


def _has_images(manifest: AuditManifest, inputs: AuditInputs) -> bool:
    """Tell whether the same images, with the same texts, were given before."""
    held = {target.sha256: target.texts_sha256 for target in manifest.targets}
    return held == {target.image.sha256: target.texts_sha256 for target in inputs.portfolio.targets}


def _has_options(manifest: AuditManifest, inputs: AuditInputs, config: AuditConfig) -> bool:
    """Tell whether the run was made under these options."""
    options = config.model_dump(mode="json", exclude=FREE_KEYS)
    usual = AuditConfig().model_dump(mode="json")
    # An option that the run's version did not have was at its default.
    held = {key: one.value for key, one in manifest.config.items()}
    same = all(held.get(key, usual[key]) == value for key, value in options.items())
    # Defaults can change between versions, so that the same options give another protocol.
    protocol = config.protocol.for_model(manifest.model.prediction_type)
    return same and protocol == manifest.protocol and manifest.policy == inputs.policy


def _require_seal(
    folder: RunFolder, manifest: AuditManifest, model: NamedModel, inputs: AuditInputs, config: AuditConfig
) -> None:
    """Refuse an audit that would depart from its seal, as the audit would: InputError, RunFolderError.

    The manifest that the audit would begin with now is the run's, with what can be another now: by its fingerprint, the
    model is the same.
    """
    seal = choose_seal(folder, inputs.seal)
    if seal is None:
        return
    options = {
        key: KnownOption(value=value, source="now") for key, value in config.model_dump(mode="json").items()
    }  # fmt: skip
    now = manifest.model_copy(
        update={
            "targets": describe_targets(inputs.portfolio), "skipped": list(inputs.portfolio.skipped), "config": options,
            "versions": package_versions(), "policy": inputs.policy, "policy_hash": inputs.policy.hash,
            "model": manifest.model.model_copy(update={"compiled": model.compiled}), "seed": config.seed,
        }
    )  # fmt: skip
    require_seal(folder, inputs, now, Origin([]), ignore_note)
