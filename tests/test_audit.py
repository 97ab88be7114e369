"""The whole audit on tiny real models: any diffusers folder, resumed runs, other batch sizes, hostile files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.audit import calibrate, measure_targets
from imgaudit.calibration import NullBank
from imgaudit.captions import CaptionSource
from imgaudit.conclusion import conclude
from imgaudit.config import AuditConfig
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.findings import AuditResult, Verdict
from imgaudit.manifest import make_manifest, open_run
from imgaudit.models import LoadedModel, load_model
from imgaudit.planner import expected_evaluations
from imgaudit.portfolio import read_portfolio
from imgaudit.protocol import Framing
from imgaudit.records import Rung, RungMeasurement
from imgaudit.store import RunFolder
from tests.conftest import random_image

OPTIONS: dict[str, Any] = {
    "steps": 3, "draws": 4, "seeds": 3, "num_inference_steps": 3, "chunk_size": 2, "device": "cpu",
    "framing": Framing.PAD, "level": 0.2,
}  # fmt: skip


def audit(
    folder: Path,
    model: LoadedModel,
    out: Path,
    *,
    bank: NullBank | None = None,
    stop_after: int | None = None,
    **options: Any,
) -> AuditResult:
    """An audit as the command makes it; `stop_after` leaves it as a kill would."""
    config = AuditConfig.model_validate(OPTIONS | options)
    portfolio = read_portfolio(folder, CaptionSource(folder))
    run = RunFolder(out)
    with run.lock():
        open_run(run, make_manifest(["imgaudit", "audit"], config, {}, model, portfolio))
        if bank is not None:
            bank.write(run.calibration_path)
        for count, _ in enumerate(measure_targets(run, portfolio, model, config), 1):
            if count == stop_after:
                break
        return conclude(run)


def comparable(result: AuditResult) -> list[dict[str, Any]]:
    """Findings without what clocks decide."""
    rows = [finding.model_dump(mode="json") for finding in result.findings]
    for row in rows:
        row.pop("seconds")
    return rows


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


@pytest.fixture
def bank(make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path) -> NullBank:
    controls = make_folder("controls", range(50, 60))
    config = AuditConfig.model_validate(OPTIONS)
    portfolio = read_portfolio(controls, CaptionSource(controls))
    return calibrate(tmp_path / "work", portfolio, model, config, note="other seeds")


@pytest.mark.parametrize("which", ["model_folder", "other_model_folder"])
def test_any_folder_of_these_classes_is_audited(
    which: str, request: pytest.FixtureRequest, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    model = load_model(str(request.getfixturevalue(which)), "cpu")
    result = audit(make_folder("portfolio", range(3)), model, tmp_path / "run")
    assert [finding.verdict for finding in result.findings] == [Verdict.INCONCLUSIVE] * 3
    protocol = AuditConfig.model_validate(OPTIONS).protocol
    assert {f.network_evaluations for f in result.findings} == {expected_evaluations(protocol, 3)}
    measurements, _ = RunFolder(tmp_path / "run").read_measurements()
    for measurement in measurements:
        for rung in (Rung.CAPTION, Rung.EMBEDDING):
            measured = measurement.rungs[rung]
            assert isinstance(measured, RungMeasurement)
            assert [(tmp_path / "run" / replica.path).is_file() for replica in measured.replicas] == [True] * 3


def test_a_stopped_and_resumed_audit_equals_an_uninterrupted_one(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(5))
    whole = audit(folder, model, tmp_path / "whole", bank=bank)
    partial = audit(folder, model, tmp_path / "stopped", bank=bank, stop_after=3)
    assert len(partial.findings) == 3 and partial.summary.targets == 5
    records = tmp_path / "stopped" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-40])
    resumed = audit(folder, model, tmp_path / "stopped", bank=bank)
    assert comparable(resumed) == comparable(whole)
    before = records.read_bytes()
    assert comparable(audit(folder, model, tmp_path / "stopped", bank=bank)) == comparable(whole)
    assert records.read_bytes() == before


def test_another_batch_or_chunk_size_gives_the_same_verdicts(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(4))
    first = audit(folder, model, tmp_path / "first", bank=bank)
    for number, options in enumerate(({"batch_size": 3}, {"chunk_size": 4}, {"batch_size": 1, "chunk_size": 1})):
        other = audit(folder, model, tmp_path / f"other{number}", bank=bank, **options)
        for left, right in zip(first.findings, other.findings, strict=True):
            assert left.id == right.id and left.verdict is right.verdict
            assert left.score == pytest.approx(right.score, abs=1e-3)


def test_a_killed_calibration_continues(make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path) -> None:
    folder = make_folder("controls", range(4))
    config = AuditConfig.model_validate(OPTIONS)
    portfolio = read_portfolio(folder, CaptionSource(folder))

    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        calibrate(tmp_path / "work", portfolio, model, config, note="s", on_progress=kill)
    spent = model.denoiser.network_evaluations
    resumed = calibrate(tmp_path / "work", portfolio, model, config, note="s")
    half = model.denoiser.network_evaluations - spent
    assert half == 2 * expected_evaluations(config.protocol, 3)
    fresh = calibrate(tmp_path / "again", portfolio, model, config, note="s")
    assert resumed.controls == fresh.controls and not (tmp_path / "work").exists()


def test_what_cannot_be_read_is_skipped_and_said(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(2))
    (folder / "broken.png").write_bytes(b"\x89PNG broken")
    shutil.copy(folder / "picture-000.png", folder / "twin.png")
    random_image(7).save(folder / "<img src=x onerror=alert(1)>[red].png")
    result = audit(folder, model, tmp_path / "run")
    assert result.summary.targets == 5 == sum(result.summary.counts.values())
    reasons = {Path(f.path).name: f.reason for f in result.findings if f.verdict is Verdict.SKIPPED}
    assert "not an image" in reasons["broken.png"] or "damaged" in reasons["broken.png"]
    assert "identical to" in reasons["twin.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image files"):
        read_portfolio(tmp_path / "empty", CaptionSource(tmp_path / "empty"))


def test_an_image_on_which_the_model_overflows_is_skipped_and_stops_nothing(
    make_folder: Callable[..., Path], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("portfolio", range(3))
    model = load_model(str(model_folder), "cpu")
    encode = type(model.denoiser).encode
    dark = read_portfolio(folder, CaptionSource(folder)).targets[0].image.sha256

    def overflowing(self: Any, images: torch.Tensor) -> torch.Tensor:
        latents = encode(self, images)
        latents[0] = torch.inf
        return latents

    monkeypatch.setattr(type(model.denoiser), "encode", overflowing)
    result = audit(folder, model, tmp_path / "run", chunk_size=3)
    skipped = [f for f in result.findings if f.verdict is Verdict.SKIPPED]
    assert len(skipped) == 1 and "not finite" in skipped[0].reason
    assert len(result.findings) == 3 and dark not in {f.sha256 for f in result.findings}


def test_a_run_folder_of_another_audit_is_refused(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(2))
    audit(folder, model, tmp_path / "run")
    with pytest.raises(RunFolderError, match="protocol_hash differ"):
        audit(folder, model, tmp_path / "run", steps=4)
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(RunFolderError, match="texts differ"):
        audit(folder, model, tmp_path / "run")
    with pytest.raises(RunFolderError, match="not empty and not a run"):
        audit(folder, model, folder)


def test_a_finished_run_is_decided_again_without_the_model(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    first = audit(make_folder("portfolio", range(3)), model, tmp_path / "run", bank=bank)
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "run", moved)
    spent = model.denoiser.network_evaluations
    assert comparable(conclude(RunFolder(moved))) == comparable(first)
    assert model.denoiser.network_evaluations == spent


@pytest.mark.slow
def test_kills_at_any_moment_lose_nothing(make_folder: Callable[..., Path], model_folder: Path, tmp_path: Path) -> None:
    folder = make_folder("portfolio", range(6))
    arguments = [
        sys.executable, "-m", "imgaudit", "audit", str(folder), "--model", str(model_folder), "--device", "cpu",
        "--steps", "3", "--draws", "4", "--seeds", "3", "--num-inference-steps", "3", "--chunk-size", "2",
        "--framing", "pad",
    ]  # fmt: skip
    environ = os.environ | {"HF_HUB_OFFLINE": "1"}
    killed, delay = tmp_path / "killed", 0.0
    for _ in range(4):
        process = subprocess.Popen([*arguments, "--out", str(killed)], env=environ,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        waited = time.monotonic()
        while not (killed / "manifest.json").is_file() and process.poll() is None and time.monotonic() - waited < 120:
            time.sleep(0.02)
        time.sleep(delay)
        delay += 0.25
        process.send_signal(signal.SIGKILL)
        process.wait()
    for out in (killed, tmp_path / "whole"):
        finished = subprocess.run(
            [*arguments, "--out", str(out)], env=environ, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 3, finished.stderr
    results = [
        AuditResult.model_validate(json.loads((out / "report.json").read_text()))
        for out in (killed, tmp_path / "whole")
    ]
    assert comparable(results[0]) == comparable(results[1])
