"""Null banks: controls put through the protocol, their scores frozen."""

import shutil
from collections.abc import Callable
from pathlib import Path

from imgaudit.decision.null_bank import NullBank, build_bank
from imgaudit.io.portfolio import Portfolio
from imgaudit.io.provenance import utc_now
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest, resume_portfolio
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.config import AuditConfig


def measure_bank(
    work: Path,
    portfolio: Portfolio,
    model: LoadedModel,
    config: AuditConfig,
    *,
    note: str,
    on_bank: Callable[[NullBank], None] = lambda bank: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> NullBank:
    """Put controls through the protocol and freeze their scores as a null bank.

    note:     where the controls came from and why they cannot have been in the training set
    work:     folder for what is finished, so that a killed calibration continues; removed when the bank is complete
    on_bank:  writes the bank down, before the work behind it is removed
    """
    run = RunFolder(work)
    with run.lock():
        manifest = open_manifest(run.path, make_manifest(["calibrate"], config, {}, model, portfolio))
        portfolio = resume_portfolio(portfolio, manifest)
        for _ in measure_targets(run, portfolio, model, config, keep_images=False, on_progress=on_progress):
            pass
        measurements, _ = run.read_measurements()
        bank = build_bank(
            measurements,
            model=model.name,
            model_fingerprint=model.denoiser.fingerprint,
            protocol=config.protocol,
            seed=config.seed,
            note=note,
            made=utc_now(),
            same_works=sorted(portfolio.same_works),
        )
        on_bank(bank)
    shutil.rmtree(work, ignore_errors=True)
    return bank
