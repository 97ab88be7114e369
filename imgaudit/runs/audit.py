"""Audit a portfolio into a run folder: calibrate, measure, decide. What is there already is not done again.

Generating, deciding and rendering are separate: measurements go to records.jsonl as they finish, and everything else is
computed from the run folder, without the model.
"""

from dataclasses import replace

import torch
from safetensors.torch import save

from imgaudit.decision.funnel import describe_unplaced
from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import CalibrationError, ImageError, RunFolderError
from imgaudit.io.framing import to_batch
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.writing import remove_folder, write_atomically
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.callbacks import OnMeasured, OnNote, OnProgress, OnStep, ignore_measured, ignore_step
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.cost import resolve_batch_size
from imgaudit.runs.engine.pool import Engine, count_sharing, describe_processes
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.runs.inputs import AuditInputs, Origin
from imgaudit.runs.manifest import make_manifest, open_manifest, read_manifest, resume_portfolio
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.model_checking import keep_model_checks
from imgaudit.runs.model_checks import read_model_checks
from imgaudit.runs.reference_search import find_near_copy_rule, keep_reference
from imgaudit.runs.seal import choose_seal, compare_bank, keep_seal
from imgaudit.runs.sealing import name_measures, require_seal
from imgaudit.runs.shards.part import require_measured_controls, take_shard
from imgaudit.runs.works import describe_same_works, group_targets, keep_works
from imgaudit.schema.baseline import BASELINE_WORDING
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult
from imgaudit.similarity.matcher import Matcher, standard_matcher

MAX_DECOYS = 1000
"""Decoys beyond these add nothing that a coincidence p-value could show."""


SHOWN = 20
"""Controls that a message lists."""

OTHER_CONTROLS = (
    "its images were measured and decided with those. Leave the option out to continue the run with them, or name "
    "another --out for an audit with others, which measures everything anew"
)
"""The way out where a run is given other controls than its own."""


def run_audit(
    run: RunFolder,
    model: LoadedModel,
    inputs: AuditInputs,
    config: AuditConfig,
    origin: Origin,
    *,
    invocation: Invocation,
    on_progress: OnProgress,
    on_note: OnNote,
    on_measured: OnMeasured = ignore_measured,
    on_step: OnStep = ignore_step,
    engine: Engine | None = None,
) -> AuditResult:
    """Audit into a run folder that the caller holds, and decide. Pages are the caller's to render.

    The parameters are those of `measure_audit`.
    """
    measure_audit(
        run, model, inputs, config, origin, invocation=invocation, on_progress=on_progress, on_note=on_note,
        on_measured=on_measured, on_step=on_step, engine=engine,
    )  # fmt: skip
    return conclude(run)


def measure_audit(
    run: RunFolder,
    model: LoadedModel,
    inputs: AuditInputs,
    config: AuditConfig,
    origin: Origin,
    *,
    invocation: Invocation,
    on_progress: OnProgress,
    on_note: OnNote,
    on_measured: OnMeasured = ignore_measured,
    on_step: OnStep = ignore_step,
    engine: Engine | None = None,
) -> None:
    """Measure what a run folder still lacks of an audit, or of the part of it that `inputs` names. Decide nothing.

    invocation:  line of the run's history; started here, once nothing keeps the audit from being made
    engine:      processes that measure images and controls; by default this one
    """
    on_progress = invocation.noticing(on_progress)
    require_measured_controls(inputs)
    _note_controls(model, inputs, config, on_note)
    if reason := model.denoiser.no_null:
        on_note(f"note: {reason}; errors are {BASELINE_WORDING['start']}, for images and controls alike")
    inputs = replace(inputs, seal=choose_seal(run, inputs.seal))
    begun = run.manifest_path.is_file()
    matcher, lacking = standard_matcher(model.denoiser.resolution, getattr(model.denoiser, "device", "cpu"))
    manifest = make_manifest(
        origin.command, config, origin.sources, model, inputs.portfolio, policy=inputs.policy,
        groups=read_manifest(run).groups if begun else group_targets(inputs.portfolio, config.series),
        measures=name_measures(matcher, lacking), shard=inputs.shard,
    ).model_copy(update=describe_processes(engine))  # fmt: skip
    require_seal(run, inputs, manifest, origin, on_note)
    inputs = _keep_works(inputs, config, on_note)
    config, sources, note = resolve_batch_size(config, origin.sources, model, run, sharing=count_sharing(engine))
    if note:
        on_note(note)
    if inputs.reference is not None:
        find_near_copy_rule(inputs.reference.manifest.descriptor.name)
    if inputs.seal is not None:
        keep_seal(run, inputs.seal)
    manifest = open_manifest(
        run.path, manifest.with_batch_size(config.batch_size, sources.get("batch_size", "default"))
    )
    whole = resume_portfolio(inputs.portfolio, manifest)
    portfolio = take_shard(whole, inputs.shard, config.chunk_size)
    recorded = run.recorded()
    if begun:
        _require_same_controls(run, inputs.controls)
    invocation.start("continued audit" if begun else "audit", decides=True)
    if begun:
        # Controls are measured first, so a run that was stopped at these holds no image yet.
        if inputs.controls is not None and recorded.finished and not run.calibration_path.is_file():
            on_note("note: this run was begun without controls; every image is decided again with those given now")
        for remark in portfolio.remarks[len(inputs.portfolio.remarks) :]:
            on_note(f"note: {remark}")
        if lost := recorded.lost:
            on_note(f"note: {lost} records are damaged, or their images are gone; measured again")
    if inputs.leads and (decoys := inputs.decoys or inputs.control_images) is not None:
        save_decoys(run, decoys, model, config)
    known = inputs.controls.model_checks if isinstance(inputs.controls, NullBank) else None
    if inputs.leads or known is not None:
        on_step("checking the model", [])
        keep_model_checks(run, model, inputs.control_images, whole, config, on_note, known)
    _fix_bank(run, model, inputs, config, origin, on_progress, on_step, engine)
    if config.protocol.funnel is not None:
        bank = NullBank.read(run.calibration_path).by_work() if run.calibration_path.is_file() else None
        if unplaced := describe_unplaced(bank, config.protocol):
            on_note(f"note: {unplaced}")
    for one in measure_targets(
        run, portfolio, model, config, matcher=matcher, recorded=recorded, engine=engine,
        on_progress=lambda done, total: on_progress("auditing", done, total), on_step=on_step,
    ):  # fmt: skip
        on_measured(one.path, one.seconds)
    if inputs.reference is not None:
        on_note(f"looking {len(portfolio.targets)} images up in {inputs.reference.folder.name}")
        keep_reference(
            run, inputs.reference, {target.image.id: target.path for target in portfolio.targets},
            [target.path for target in (inputs.control_images.targets if inputs.control_images else [])],
        )  # fmt: skip
    after = run.recorded(with_images=False)
    invocation.changes |= {
        "images_measured": len(after.finished - recorded.finished),
        "files_skipped": len(after.skipped.keys() - recorded.skipped.keys()),
    }


def _note_controls(model: LoadedModel, inputs: AuditInputs, config: AuditConfig, on_note: OnNote) -> None:
    """Say which files are no controls and what a bank lacks; raise CalibrationError when it does not fit."""
    controls = inputs.controls
    if isinstance(controls, NullBank):
        controls.require(model.denoiser.fingerprint, config.protocol.for_model(model.denoiser.prediction_type))
        if config.protocol.invmm is not None and controls.protocol.invmm != config.protocol.invmm:
            on_note(
                "note: the null bank was not measured by InvMM with these settings, so its divergences get no p-value; "
                "imgaudit calibrate takes --measure invmm"
            )
    elif controls is not None and controls.skipped:
        one, count = controls.skipped[0], len(controls.skipped)
        which = "1 file is no control:" if count == 1 else f"{count:,} files are no controls, such as"
        on_note(f"note: {which} {one.path}: {one.skipped}")


def _keep_works(inputs: AuditInputs, config: AuditConfig, on_note: OnNote) -> AuditInputs:
    """Keep one control and one decoy per work, and say what is left out; targets are all measured."""
    kept: dict[str, Portfolio] = {}
    for what, images in (("control", inputs.control_images), ("decoy", inputs.decoys)):
        if images is not None:
            kept[what] = keep_works(images, config.series)
            for sentence in describe_same_works(kept[what], what):
                on_note(f"note: {sentence}")
    return replace(inputs, controls=kept.get("control", inputs.controls), decoys=kept.get("decoy"))


def _fix_bank(
    run: RunFolder,
    model: LoadedModel,
    inputs: AuditInputs,
    config: AuditConfig,
    origin: Origin,
    on_progress: OnProgress,
    on_step: OnStep,
    engine: Engine | None,
) -> None:
    """Have the null bank in the run before any target is scored: given, kept from before, or measured now."""
    work = run.path / "controls"
    if isinstance(inputs.controls, NullBank):
        keep_bank(run, inputs.controls)
    elif inputs.controls is not None and not run.calibration_path.is_file():
        measure_bank(
            work, inputs.controls, model, config, note=origin.controls, model_checks=read_model_checks(run),
            on_bank=lambda bank: bank.write(run.calibration_path),
            on_progress=lambda done, total: on_progress("measuring controls", done, total), on_step=on_step,
            engine=engine,
        )  # fmt: skip
    if run.calibration_path.is_file():
        # A kill between writing the bank and removing the work behind it leaves that work.
        remove_folder(work)
    if inputs.seal is not None and (contradictions := list(compare_bank(run, inputs.seal.statement))):
        raise RunFolderError(f"the controls are not those of the seal: {'; '.join(contradictions[:SHOWN])}")


def keep_bank(run: RunFolder, bank: NullBank) -> None:
    """Freeze a bank in a run before any target is scored; one that is damaged there is written again.

    Raises RunFolderError when the run holds another bank, which decided what to look into while it was measured.
    """
    require_bank(run, bank)
    bank.write(run.calibration_path)


def _require_same_controls(run: RunFolder, controls: Portfolio | NullBank | None) -> None:
    """Refuse other controls than those of a run that has some, before anything in it changes."""
    if controls is None or not run.calibration_path.is_file():
        return
    if isinstance(controls, NullBank):
        require_bank(run, controls)
    else:
        require_controls(run, controls)


def require_bank(run: RunFolder, bank: NullBank) -> None:
    """Refuse another bank than the run holds, as far as that can be read. Raises RunFolderError that names it."""
    if not run.calibration_path.is_file():
        return
    try:
        held = NullBank.read(run.calibration_path)
    except CalibrationError:
        return
    if held != bank:
        raise RunFolderError(
            f"{str(run.path)!r} was begun with another null bank ({len(held.controls)} controls: {held.source}): "
            f"{OTHER_CONTROLS}"
        )


def require_controls(run: RunFolder, controls: Portfolio) -> None:
    """Refuse other controls than those of the run's bank, more of them too. Raises RunFolderError that counts them."""
    sources = NullBank.read(run.calibration_path).sources
    held = {sha256 for source in sources for sha256 in (*source.sha256s, *source.same_works)}
    given = {target.image.sha256 for target in controls.targets} | controls.same_works.keys()
    # A file that could be listed but not loaded never became a control.
    missing, new = held - given, [one for one in controls.targets if one.image.sha256 not in held and _is_loadable(one)]
    if missing or new:
        raise RunFolderError(
            f"{str(run.path)!r} was begun with other controls: {len(missing)} of its {len(held)} are not in the folder "
            f"given, and {len(new)} of those in the folder are not its own: {OTHER_CONTROLS}"
        )


def _is_loadable(target: Target) -> bool:
    try:
        target.load()
    except ImageError:
        return False
    return True


def save_decoys(run: RunFolder, decoys: Portfolio, model: LoadedModel, config: AuditConfig) -> None:
    """Describe unrelated images (decoys), as the model's autoencoder renders them; only vectors are kept.

    Decoys that can no longer be read are left out.
    """
    if run.decoys_path.is_file() or not decoys.targets:
        return
    denoiser, descriptor = model.denoiser, Matcher().deciding()
    vectors = []
    for start in range(0, min(len(decoys.targets), MAX_DECOYS), config.largest_batch):
        chunk = decoys.targets[start : min(start + config.largest_batch, MAX_DECOYS)]
        pixels = []
        for target in chunk:
            try:
                pixels.append(target.load().pixels)
            except ImageError:
                continue
        if pixels:
            framed = to_batch(pixels, denoiser.resolution, config.framing)
            vectors.append(torch.from_numpy(descriptor.describe(denoiser.decode(denoiser.encode(framed)))))
    if vectors:
        write_atomically(run.decoys_path, save({descriptor.name: torch.cat(vectors)}))
