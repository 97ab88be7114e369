"""Null banks: controls put through the protocol, their scores frozen."""

from collections.abc import Callable
from pathlib import Path

from imgaudit.decision.measured_bank import build_bank
from imgaudit.decision.null_bank import NullBank
from imgaudit.io.portfolio import Portfolio
from imgaudit.io.provenance import utc_now
from imgaudit.io.writing import remove_folder
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnStep, ignore_step
from imgaudit.runs.engine.chunk import AskingRule
from imgaudit.runs.engine.pool import Engine, describe_processes
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest, resume_portfolio
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.model_checking import keep_model_checks
from imgaudit.runs.model_checks import read_model_checks
from imgaudit.runs.sealing import name_measures
from imgaudit.runs.shards.part import take_shard
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.model_checks import ModelChecks
from imgaudit.schema.shard import BankShard, Shard
from imgaudit.similarity.matcher import standard_matcher


def measure_bank(
    work: Path,
    portfolio: Portfolio,
    model: LoadedModel,
    config: AuditConfig,
    *,
    note: str,
    model_checks: ModelChecks | None = None,
    shard: Shard | None = None,
    on_bank: Callable[[NullBank], None] = lambda bank: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_step: OnStep = ignore_step,
    engine: Engine | None = None,
) -> NullBank:
    """Put controls through the protocol and freeze their scores as a null bank.

    note:     where the controls came from and why they cannot have been in the training set
    work:     folder for what is finished, so that a killed calibration continues; removed when the bank is complete
    model_checks:  checks of the model, where they were made already; the bank holds them, so audits with it need none
    shard:    the part of the controls that is measured; None for all
    engine:   processes that measure; by default this one
    on_bank:  writes the bank down, before the work behind it is removed
    """
    # Controls are asked in all ways, and get the first look that a funnel may ask for later: its rule is applied to
    # what was measured of them.
    config = config.model_copy(update={"funnel": None})
    run = RunFolder(work)
    with run.lock():
        matcher, lacking = standard_matcher(model.denoiser.resolution, getattr(model.denoiser, "device", "cpu"))
        measures = name_measures(matcher, lacking)
        fresh = make_manifest(["calibrate"], config, {}, model, portfolio, measures=measures, shard=shard)
        manifest = open_manifest(run.path, fresh.model_copy(update=describe_processes(engine)))
        whole = resume_portfolio(portfolio, manifest)
        portfolio = take_shard(whole, shard, config.chunk_size)
        if model_checks is None and (shard is None or shard.number == 1):
            keep_model_checks(run, model, whole, whole, config)
            model_checks = read_model_checks(run)
        for _ in measure_targets(
            run,
            portfolio,
            model,
            config,
            matcher=matcher,
            keep_images=False,
            engine=engine,
            asking=AskingRule(first_look=FirstLookConfig()),
            on_progress=on_progress,
            on_step=on_step,
        ):
            pass
        measurements, _ = run.read_measurements()
        bank = build_bank(
            measurements,
            model=model.name,
            model_fingerprint=model.denoiser.fingerprint,
            protocol=manifest.protocol,
            seed=config.seed,
            note=note,
            made=utc_now(),
            same_works=sorted(portfolio.same_works),
            copy_descriptor=manifest.copy_descriptor,
        )
        if model_checks is not None:
            # What took time was the first check; whoever uses the bank spends none.
            spent = {"seconds": 0.0, "network_evaluations": 0}
            bank = bank.model_copy(update={"model_checks": model_checks.model_copy(update=spent)})
        if shard is not None:
            known = [target.sha256 for target in manifest.targets]
            bank = bank.model_copy(update={"shard": BankShard.of(shard, known, config.chunk_size)})
        on_bank(bank)
    remove_folder(work)
    return bank
