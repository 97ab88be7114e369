"""A short audit of two pictures on the demo lab, and ways to tamper with a copy of it as its maker could."""

import shutil
from collections.abc import Callable
from pathlib import Path

from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models.loading import LoadedModel, bundled_lab
from imgaudit.report import finish_run
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.finished import FinishedRun, read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.records import Measurement
from tests.support.records import bank as make_bank

CONFIG = AuditConfig.model_validate(
    {
        "effort": "quick",
        "steps": 8,
        "draws": 2,
        "seeds": 3,
        "num_inference_steps": 6,
        "framing": "pad",
        "batch_size": 64,
    }
)

CAPTIONS = {
    "canada-flag-ganson-03424.png": "canada flag ganson, america, flags",
    "mexico-03440.png": "mexico, america, flags",
}


def make_demo_run(model: LoadedModel, folder: Path) -> RunFolder:
    """Audit two memorised pictures of the demo lab and finish the run; `folder` is new."""
    targets = folder / "targets"
    targets.mkdir(parents=True)
    for name, caption in CAPTIONS.items():
        shutil.copy(bundled_lab("demo") / "portfolio" / name, targets)
        (targets / name).with_suffix(".txt").write_text(caption)
    run = RunFolder(folder / "run")
    portfolio = read_portfolio(targets, CaptionSource(targets))
    run.path.mkdir()
    with run.lock():
        open_manifest(run.path, make_manifest(["imgaudit", "audit"], CONFIG, {}, model, portfolio))
        bank = make_bank(199, protocol=CONFIG.protocol.for_model(model.denoiser.prediction_type))
        bank.model_copy(update={"model_fingerprint": model.denoiser.fingerprint}).write(run.calibration_path)
        assert len(list(measure_targets(run, portfolio, model, CONFIG))) == 2
        finish_run(run, conclude(run))
    return run


def rewrite_records(run: RunFolder, change: Callable[[Measurement], Measurement]) -> FinishedRun:
    """Write every record of a run again, changed, and decide the run again, as its maker could."""
    measurements, _ = run.read_measurements()
    run.records_path.unlink()
    for one in measurements:
        run.append_record({"stage": "measured", **change(one).model_dump(mode="json")})
    conclude(run)
    return read_finished_run(run.path)
