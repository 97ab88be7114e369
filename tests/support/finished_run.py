"""A finished run on a perfect memoriser, as fixtures: imported by the conftest or module that uses them."""

from typing import Any

import pytest
import torch

from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_image
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.report import finish_run
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult
from tests.support.records import bank as make_bank

HOSTILE = "'\"><img src=x onerror=alert(1)>{{7*7}}[red]=1+1"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run on a perfect memoriser: two of its pictures asked for by number, hostile names, a broken file."""
    folder = tmp_path_factory.mktemp("portfolio")
    coarse = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    points = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    points = (((points + 1) * 127.5).round() / 127.5 - 1).contiguous()
    for number, name in enumerate(["plain", HOSTILE]):
        to_image(points[number]).save(folder / f"{name.replace('/', '_')}.png")
        (folder / f"{name}.txt").write_text(str(number))
    (folder / "=cmd.png").write_bytes(b"no image")
    model = LoadedModel(FiniteSetDenoiser(points), "memoriser <script>", "FiniteSetDenoiser", {})
    options: dict[str, Any] = {"effort": "quick", "steps": 4, "seeds": 4, "framing": "pad"}
    config = AuditConfig.model_validate(options)
    run = RunFolder(tmp_path_factory.mktemp("run"))
    portfolio = read_portfolio(folder, CaptionSource(folder))
    with run.lock():
        open_manifest(run.path, make_manifest(["imgaudit", "audit", HOSTILE], config, {}, model, portfolio))
        protocol = config.protocol.for_model(model.denoiser.prediction_type)
        bank = make_bank(199, protocol=protocol, vae_error=0.0)
        # Invented controls look unlike the pictures, which would take the p-values that the pages are to show.
        alike = [
            control.model_copy(update={"features": {}, "caption_log_ratio": 0.001 * number})
            for number, control in enumerate(bank.controls)
        ]
        fingerprint = model.denoiser.fingerprint
        bank.model_copy(update={"controls": alike, "model_fingerprint": fingerprint}).write(run.calibration_path)
        assert len(list(measure_targets(run, portfolio, model, config))) == 2
        # Made while images are measured, so that a report of thousands need not decode them.
        assert len(list((run.path / "report" / "thumbs").glob("*.jpg"))) == 4
        finish_run(run, conclude(run))
    return run


@pytest.fixture(scope="session")
def result(run: RunFolder) -> AuditResult:
    return conclude(run)
