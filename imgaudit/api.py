"""The library: the calls behind `imgaudit audit`, `calibrate`, `seal`, `compare` and `verify`, for Python programs.

The guide "From Python" shows them in use.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from imgaudit.decision.null_bank import NullBank
from imgaudit.diffusion.generation import require_steps
from imgaudit.diffusion.inversion import require_streams
from imgaudit.exceptions import InputError
from imgaudit.index import Collection
from imgaudit.io import portfolio as portfolios
from imgaudit.io.captions import CaptionSource
from imgaudit.io.new_file import write_new
from imgaudit.io.offline import go_offline
from imgaudit.io.portfolio import Portfolio
from imgaudit.io.screening import ScreeningCache, cache_path
from imgaudit.models.loading import LoadedModel
from imgaudit.report import finish_run
from imgaudit.report.verification import verify, verify_file
from imgaudit.runs.audit import measure_audit, run_audit
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.callbacks import (
    OnMeasured,
    OnNote,
    OnProgress,
    OnStep,
    ignore_measured,
    ignore_note,
    ignore_progress,
    ignore_step,
)
from imgaudit.runs.comparison import compare as comparisons
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.cost import resolve_batch_size
from imgaudit.runs.engine.pool import Engine, count_sharing
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.runs.inputs import AuditInputs, Origin
from imgaudit.runs.seal import read_run_seal, read_seal
from imgaudit.runs.sealing import make_seal
from imgaudit.runs.shards.merge import find_merged, merging, read_parts
from imgaudit.runs.shards.part import finish_shard
from imgaudit.runs.works import describe_same_works, keep_works, require_other_files
from imgaudit.schema.comparison import Comparison
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Framing
from imgaudit.schema.seal import Seal
from imgaudit.schema.shard import Shard, ShardSummary

AnyPath = str | PathLike[str]

__all__ = [
    "audit", "calibrate", "compare", "measure_shard", "merge", "read_portfolio", "seal", "verify", "verify_file",
]  # fmt: skip


def read_portfolio(
    folder: AnyPath,
    *,
    captions: AnyPath | None = None,
    prompts: AnyPath | None = None,
    framing: Framing | str | None = Framing.CROP_OR_PAD,
    sidecars: bool = True,
    rescan: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Portfolio:
    """Read a folder of images and the texts that belong to them.

    Every file is looked at once. One that cannot be read ends up in `skipped` with the reason and stops nothing.

    captions:  CSV or JSONL with the columns file_name and text; by default NAME.txt beside an image, metadata.jsonl or
               metadata.csv in the folder, or the caption inside the image
    prompts:   CSV or JSONL with the columns file_name and text: what an ordinary user would type for the image
    framing:   how images that are not square meet the model's size: crop-or-pad, crop, pad or squash, as in the audit.
               None makes no thumbnails; controls and decoys are then read a second time, to find near copies among them
    sidecars:  whether texts beside and inside the images are used
    rescan:    read every file again, also those that have not changed since an earlier audit
    on_progress:  called with the number of files read and the number in the folder

    Raises InputError when the folder holds no image or a table cannot be used.
    """
    folder = Path(folder)
    asked = CaptionSource(folder, Path(prompts), sidecars=False) if prompts is not None else None
    source = CaptionSource(folder, Path(captions) if captions is not None else None, sidecars=sidecars)
    cache = ScreeningCache(None if rescan else cache_path())
    try:
        return portfolios.read_portfolio(
            folder, source, asked, framing=Framing(framing) if framing else None, cache=cache, on_progress=on_progress
        )
    finally:
        cache.close()


def audit(
    model: LoadedModel,
    portfolio: Portfolio,
    *,
    out: AnyPath,
    controls: Portfolio | NullBank | None = None,
    config: AuditConfig | None = None,
    policy: Policy | None = None,
    decoys: Portfolio | None = None,
    reference: Collection | AnyPath | None = None,
    seal: Seal | AnyPath | None = None,
    origin: Origin | None = None,
    on_progress: OnProgress = ignore_progress,
    on_note: OnNote = ignore_note,
    on_measured: OnMeasured = ignore_measured,
    on_step: OnStep = ignore_step,
    engine: Engine | None = None,
) -> AuditResult:
    """Audit a portfolio against a model, write a run folder with a report per image, and return the result.

    What `imgaudit audit` does: calibrate on the controls, measure every image, decide, and render the report. Finished
    work is on disk at every moment; the same call continues a run that was stopped.

    out:        run folder, new or of the same audit
    controls:   images that cannot have been in the training set, or a null bank made from them; without either there
                are no p-values, only copies from prompts that were not derived from the image can be concluded, and
                every other image is inconclusive. The command asks first; a call without controls goes ahead
    config:     budget and seed; the standard effort by default. Its framing must be the portfolio's. `offline` refuses
                every connection of this process from now on; `device`, `rescan` and `fail_on` are for the command, as
                the model is loaded and the images are read already
    policy:     how measurements become verdicts; by default the one that follows from the configured level
    decoys:     other images that replicas are compared with; the controls by default
    reference:  collection in which near copies of every image are counted, or its folder
    seal:       statement made by `seal`, or its file: config and policy then default to what it fixes, and an audit
                that departs from it is refused. A run that was begun with a seal keeps to it in any case
    origin:     what the run's manifest says of the call: the command line, and where each option's value comes from
    on_progress:  called with the stage, the number of images finished and the number of all; what it raises stops the
                audit, with all that was finished kept
    on_note:    called with sentences that the user should read
    on_measured:  called with the path of every image that is measured, and the seconds that it took
    on_step:    called with what is done next, in words, and the paths of the images that it is done with
    engine:     processes that measure the images and controls, such as `imgaudit.runs.engine.workers.Workers`; by
                default this one. `model` then only checks itself, and the engine loads its own copies of it

    Raises InputError and ConfigError for what cannot be audited as asked, RunFolderError when `out` holds something
    else, CalibrationError when a null bank belongs to another model or protocol, and MemoryShortageError.
    """
    run = RunFolder(Path(out))
    seal = _find_seal(run, seal)
    if seal is not None:
        config, policy = config or seal.statement.config, policy or seal.statement.audit.policy
    config = config or AuditConfig()
    _require_agreement(portfolio, controls, config)
    if not run.calibration_path.is_file():
        _require_other_files(portfolio, controls)
    _prepare(model, config)
    inputs = AuditInputs(portfolio, controls, decoys, _open_collection(reference), policy or config.policy, seal)
    origin = origin or Origin.of_python(config, model)
    with run.lock(), Invocation(run, "audit", origin.command, config.operator) as invocation:
        result = run_audit(
            run,
            model,
            inputs,
            config,
            origin,
            invocation=invocation,
            on_progress=on_progress,
            on_note=on_note,
            on_measured=on_measured,
            on_step=on_step,
            engine=engine,
        )
        finish_run(run, result, invocation)
    return result


def measure_shard(
    model: LoadedModel,
    portfolio: Portfolio,
    shard: Shard | str,
    *,
    out: AnyPath,
    controls: NullBank | None = None,
    config: AuditConfig | None = None,
    policy: Policy | None = None,
    decoys: Portfolio | None = None,
    reference: Collection | AnyPath | None = None,
    seal: Seal | AnyPath | None = None,
    origin: Origin | None = None,
    on_progress: OnProgress = ignore_progress,
    on_note: OnNote = ignore_note,
    on_measured: OnMeasured = ignore_measured,
    on_step: OnStep = ignore_step,
    engine: Engine | None = None,
) -> ShardSummary:
    """Measure one part of an audit, such as "3/20", into a folder of its own; `merge` makes a run of all parts.

    What `imgaudit audit --shard` does. Every part is given the whole portfolio, and measures the images that are its
    own. It decides nothing, as every q-value depends on all images. The same call continues a part that was stopped.

    controls:  a null bank, so that all parts use the same; None for an audit without controls
    The others are those of `audit`. Raises what `audit` raises.
    """
    run = RunFolder(Path(out))
    seal = _find_seal(run, seal)
    if seal is not None:
        config, policy = config or seal.statement.config, policy or seal.statement.audit.policy
    config, part = config or AuditConfig(), shard if isinstance(shard, Shard) else Shard.parse(shard)
    _require_agreement(portfolio, controls, config)
    _prepare(model, config)
    policy, collection = policy or config.policy, _open_collection(reference)
    inputs = AuditInputs(portfolio, controls, decoys, collection, policy, seal, part)
    origin = origin or Origin.of_python(config, model, "measure_shard")
    with run.lock(), Invocation(run, "audit", origin.command, config.operator) as invocation:
        measure_audit(
            run, model, inputs, config, origin, invocation=invocation, on_progress=on_progress, on_note=on_note,
            on_measured=on_measured, on_step=on_step, engine=engine,
        )  # fmt: skip
        return finish_shard(run, invocation)


def merge(
    shards: Sequence[AnyPath],
    *,
    out: AnyPath,
    command: Sequence[str] = ("imgaudit.merge",),
    on_progress: OnProgress = ignore_progress,
    on_note: OnNote = ignore_note,
) -> AuditResult:
    """Merge all parts of an audit into a run, decide it, and return the result. Needs no model.

    The run has the records, pictures, findings and q-values that the audit would have had in one piece.

    shards:   folders of all parts, in any order; nothing in them is changed
    out:      new run folder; it appears when it is complete, and what a kill left is used by the same call again
    command:  what the run's manifest says of the call
    on_progress, on_note:  as of `audit`

    Raises RunFolderError that names parts which are missing, given twice, not finished, damaged, or of another audit.
    """
    out, parts = Path(out), read_parts([Path(one) for one in shards], on_progress)
    if (result := find_merged(out, parts)) is not None:
        on_note("nothing to do: these shards are merged already")
        return result
    with merging(parts, out, command, on_progress, on_note) as (run, invocation):
        result = conclude(run)
        finish_run(run, result, invocation)
    return result


def _find_seal(run: RunFolder, given: Seal | AnyPath | None) -> Seal | None:
    """Return the seal that was given, or that of a run which is continued."""
    if given is not None and not isinstance(given, Seal):
        given = read_seal(Path(given))
    return given or read_run_seal(run)


def seal(
    model: LoadedModel,
    portfolio: Portfolio,
    *,
    output: AnyPath,
    controls: Portfolio | NullBank | None = None,
    config: AuditConfig | None = None,
    policy: Policy | None = None,
    decoys: Portfolio | None = None,
    reference: Collection | AnyPath | None = None,
    origin: Origin | None = None,
) -> Seal:
    """Fix an audit in a statement before anything is measured, write it to a new file, and return it.

    `audit(..., seal=...)` then refuses other targets, controls, rules or another model. No image is given to
    the model.

    output:  file to write; one that is there is never replaced
    The others are those of `audit`.

    Returns the seal, whose `sha256` is the digest of the file. Raises what `audit` raises before it measures.
    """
    output, config = Path(output), config or AuditConfig()
    _require_agreement(portfolio, controls, config)
    _require_other_files(portfolio, controls)
    _prepare(model, config)
    inputs = AuditInputs(portfolio, controls, decoys, _open_collection(reference), policy or config.policy)
    made = make_seal(model, inputs, config, origin or Origin.of_python(config, model, "seal"))
    write_new(output, made.data)
    return made


def _open_collection(reference: Collection | AnyPath | None) -> Collection | None:
    if reference is None or isinstance(reference, Collection):
        return reference
    return Collection.open(Path(reference))


def _require_other_files(portfolio: Portfolio, controls: Portfolio | NullBank | None) -> None:
    """Raise InputError where every control is a file of the portfolio."""
    if isinstance(controls, NullBank):
        require_other_files(portfolio, {sha256 for one in controls.sources for sha256 in one.sha256s})
    elif controls is not None:
        require_other_files(portfolio, {target.image.sha256 for target in controls.targets})


def _require_agreement(portfolio: Portfolio, controls: Portfolio | NullBank | None, config: AuditConfig) -> None:
    """Raise InputError where a portfolio was read for another configuration, or controls are given and declined."""
    if portfolio.framing is not config.framing:
        read_with = portfolio.framing.value if portfolio.framing else "none"
        raise InputError(
            f"the portfolio was read with framing {read_with}, and the audit frames by {config.framing.value}: "
            f"read it with framing={config.framing.value!r}"
        )
    if config.no_controls and controls is not None:
        raise InputError("the configuration says no_controls, but controls were given: give only one of them")


def calibrate(
    model: LoadedModel,
    controls: Portfolio,
    *,
    out: AnyPath,
    config: AuditConfig | None = None,
    note: str = "",
    append: bool = False,
    shard: Shard | str | None = None,
    on_progress: OnProgress = ignore_progress,
    on_note: OnNote = ignore_note,
    on_step: OnStep = ignore_step,
    engine: Engine | None = None,
) -> NullBank:
    """Put controls through the audit's procedure and write their scores to a file: a null bank.

    A bank holds for this model and protocol, and serves any number of audits: `audit(..., controls=bank)`. Near copies
    among the controls are one work: only one of each is measured.

    out:       file of the null bank; OUT.work beside it keeps what is finished until the bank is complete
    note:      why these images cannot have been in the training set; kept in the bank
    append:    add to the bank that `out` holds, if there is one
    shard:     the part of the controls that is measured, such as "3/20"; `imgaudit merge` makes a bank of all parts,
               and no audit takes one of them
    on_progress, on_note, on_step, engine:  as of `audit`

    Returns the bank as it is in the file. Raises CalibrationError when `out` holds a bank of another model or protocol.
    """
    config, out = config or AuditConfig(), Path(out)
    if append and shard is not None:
        raise InputError("a shard is not added to another bank: merge all shards first, then imgaudit bank merge")
    _prepare(model, config)
    earlier = NullBank.read(out) if append and out.is_file() else None
    if earlier is not None:
        earlier.require(model.denoiser.fingerprint, config.protocol.for_model(model.denoiser.prediction_type))
    controls = keep_works(controls, config.series)
    for sentence in describe_same_works(controls, "control"):
        on_note(f"note: {sentence}")
    work = out.with_name(out.name + ".work")
    config, _, remark = resolve_batch_size(config, {}, model, RunFolder(work), sharing=count_sharing(engine))
    if remark:
        on_note(remark)
    measure_bank(
        work, controls, model, config, note=note, shard=Shard.parse(shard) if isinstance(shard, str) else shard,
        on_bank=lambda bank: (bank if earlier is None else earlier.merge(bank)).write(out),
        on_progress=lambda done, total: on_progress("calibrating", done, total), on_step=on_step, engine=engine,
    )  # fmt: skip
    return NullBank.read(out)


def compare(run_a: AnyPath, run_b: AnyPath) -> Comparison:
    """Compare two finished runs image by image: what changed, how sure that is, and what could not be compared.

    run_a, run_b:  run folders of the same portfolio on two models or versions
    Needs no model and writes nothing. Raises RunFolderError for a folder that is not a finished run.
    """
    return comparisons.compare(read_finished_run(Path(run_a)), read_finished_run(Path(run_b)))


def _prepare(model: LoadedModel, config: AuditConfig) -> None:
    """Go offline if asked. Raise ConfigError when the model lacks a stream, or cannot sample with as many steps."""
    if config.offline:
        go_offline()
    require_streams(model.denoiser, config.streams)
    require_steps(model.denoiser, config.protocol.generation.num_inference_steps)
