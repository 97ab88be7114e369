"""The score under the caption from the model to the report: measured, kept in the bank, ranked, and decided again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgaudit.decision.caption_score import rank_caption
from imgaudit.decision.controls import make_control
from imgaudit.decision.null_bank import NullBank
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import LoadedModel, load_model
from imgaudit.report import ReportFormat, render
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.verification import verify_run
from imgaudit.schema.caption_score import CaptionScore
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import Finding
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import ErrorMeasurement, Rung, Skipped

OPTIONS: dict[str, Any] = {
    "steps": 2, "draws": 2, "score_after": 2, "seeds": 2, "num_inference_steps": 2, "chunk_size": 3, "device": "cpu",
    "level": 0.2, "rungs": ("caption", "embedding"),
}  # fmt: skip

LENIENT = Policy(level=0.2, copy_level=0.2, alarms="only_warn")
"""A tiny model's autoencoder renders nothing, which takes every p-value away."""


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


def audit(folder: Path, model: LoadedModel, bank: NullBank, out: Path) -> RunFolder:
    config = AuditConfig.model_validate(OPTIONS)
    portfolio, run = read_portfolio(folder, CaptionSource(folder)), RunFolder(out)
    with run.lock():
        open_manifest(run.path, make_manifest(["imgaudit"], config, {}, model, portfolio))
        bank.write(run.calibration_path)
        assert len(list(measure_targets(run, portfolio, model, config))) == len(portfolio.targets)
    return run


@pytest.fixture
def bank(make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path) -> NullBank:
    folder = make_folder("controls", range(50, 59))
    portfolio = read_portfolio(folder, CaptionSource(folder))
    return measure_bank(tmp_path / "work", portfolio, model, AuditConfig.model_validate(OPTIONS), note="other seeds")


def targets(make_folder: Callable[..., Path]) -> Path:
    """Three images, the last without a caption."""
    folder = make_folder("portfolio", range(3))
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "metadata.jsonl").write_text("\n".join(lines[:2]), encoding="utf-8")
    return folder


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {Path(finding.path).name: finding for finding in findings}


def test_it_goes_from_the_model_to_the_report(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    ratios = [one.caption_log_ratio for one in bank.controls]
    assert len(set(ratios)) == len(ratios) == 9 and None not in ratios
    run = audit(targets(make_folder), model, bank, tmp_path / "run")
    result = conclude(run, LENIENT)
    measured = {one.id: one for one in run.read_measurements()[0]}
    frozen = NullBank.read(run.calibration_path)
    assert frozen == bank
    found = by_name(result.findings)
    for name in ("picture-000.png", "picture-001.png"):
        finding = found[name]
        one = measured[finding.id]
        score, error = finding.caption_score, one.caption_error
        assert isinstance(score, CaptionScore) and isinstance(error, ErrorMeasurement)
        assert score.log_ratio == error.log_ratio and score.controls == 9
        assert score.p_value == rank_caption(make_control(one), frozen, "residual")[0]
        assert score.p_value in [pytest.approx(n / 10) for n in range(1, 11)]
    none = found["picture-002.png"]
    assert none.caption_score == Skipped(skipped="no caption was given")
    assert [one.rung for one in none.replication] == [Rung.EMBEDDING]
    assert json.loads(render(result, ReportFormat.JSON))["findings"][0]["caption_score"]
    assert "caption_score_p_value" in render(result, ReportFormat.CSV).splitlines()[0]


def test_an_image_without_a_caption_loses_nothing_and_older_records_give_what_they_gave(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    run = audit(targets(make_folder), model, bank, tmp_path / "run")
    now = by_name(conclude(run, LENIENT).findings)
    older = bank.model_copy(
        update={"controls": [one.model_copy(update={"caption_log_ratio": None}) for one in bank.controls]}
    )
    older.write(run.calibration_path)
    records = [json.loads(line) for line in run.records_path.read_text(encoding="utf-8").splitlines()]
    run.records_path.unlink()
    run.append_records([{k: v for k, v in one.items() if k not in ("caption_error", "check")} for one in records])
    result = conclude(run, LENIENT)
    write_evidence(run)
    before = by_name(result.findings)
    name = "picture-002.png"
    # q-values are over the folder, whose other images have captions.
    for field in ("p_value", "score", "score_p_value", "error", "network_evaluations"):
        assert getattr(now[name], field) == getattr(before[name], field)
    assert isinstance(now[name].p_value, float)
    assert all(finding.caption_score is None for finding in result.findings)
    assert "caption_score" not in render(result, ReportFormat.JSON)
    assert verify_run(run).problems == []
