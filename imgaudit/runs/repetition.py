"""An audit that is asked for again when its run is finished: nothing would change, so no model is loaded."""

from pathlib import Path

from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import ImgauditError
from imgaudit.index import Collection
from imgaudit.io.portfolio import Portfolio
from imgaudit.models.loading import hash_model
from imgaudit.runs.audit import require_bank, require_controls
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.policy import Policy

FREE_KEYS = {"batch_size", "device", "offline", "rescan", "fail_on", "operator", "no_controls"}
"""Keys of the configuration that change nothing in a finished run."""

GivenImages = tuple[Portfolio | NullBank | None, Portfolio | None, Collection | None]
"""Controls, decoys and reference."""


def find_finished_audit(
    out: Path, model: str, portfolio: Portfolio, given: GivenImages, config: AuditConfig, policy: Policy
) -> AuditResult | None:
    """Return the result of a finished run where the same audit would change nothing; None where it has to be made.

    out:    run folder
    model:  name of the model, whose files are hashed and not loaded
    Whatever is in doubt is None: the audit then says itself what differs.
    """
    folder = RunFolder(out)
    controls, decoys, reference = given
    if not (folder.manifest_path.is_file() and folder.report_path.is_file() and (out / "evidence.json").is_file()):
        return None
    if decoys is not None or reference is not None:
        return None
    try:
        run = read_finished_run(out)
        if folder.calibration_path.is_file() != (controls is not None):
            return None
        if isinstance(controls, NullBank):
            require_bank(folder, controls)
        elif controls is not None:
            require_controls(folder, controls)
        recorded = folder.recorded(with_images=True)
        held = {target.sha256 for target in run.manifest.targets}
        complete = held == {target.image.sha256 for target in portfolio.targets} and not any(recorded.skipped.values())
        complete &= len(run.result.findings) == run.result.summary.targets and not recorded.lost
        complete &= {target.image.id for target in portfolio.targets} <= {one.id for one in run.result.findings}
        options = config.model_dump(mode="json", exclude=FREE_KEYS)
        same = all(key in run.manifest.config and run.manifest.config[key].value == options[key] for key in options)
        same &= run.manifest.policy == policy == run.result.policy and run.manifest.model.name == model
        if not (complete and same) or hash_model(model) != run.manifest.model.files:
            return None
    except (ImgauditError, OSError):
        return None
    return run.result
