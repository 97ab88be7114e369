"""Audits through a mitigation: recorded, with banks of their own, never mixed with those of the bare model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import CalibrationError, ConfigError, RunFolderError
from tests.conftest import CAPTIONS

FAST = ["--device", "cpu", "--steps", "2", "--draws", "2", "--seeds", "2", "--num-inference-steps", "2", "--quiet"]


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in (*arguments, *FAST)])


@pytest.mark.parametrize("spec", ["attention:factor=2", "descent:rms=0.001,iterations=2"])
def test_an_audit_through_a_mitigation_is_recorded_and_has_its_own_bank(
    spec: str, make_folder: Callable[..., Path], model_folder: Path, tmp_path: Path
) -> None:
    portfolio, controls = make_folder("portfolio", range(2)), make_folder("controls", range(10, 13))
    for path, caption in zip(sorted([*portfolio.glob("*.png"), *controls.glob("*.png")]), CAPTIONS, strict=False):
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    bank, run = tmp_path / "bank.json", tmp_path / "run"
    made = _run("calibrate", controls, "--model", model_folder, "--mitigation", spec, "--out", bank)
    assert made.exit_code == 0, made.output
    begun = ("audit", portfolio, "--model", model_folder, "--calibration", bank)
    bare = _run(*begun, "--out", tmp_path / "bare")
    assert isinstance(bare.exception, CalibrationError), bare.output
    done = _run(*begun, "--mitigation", spec, "--out", run)
    assert done.exit_code in (0, 3), (done.output, done.exception)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"]["mitigation"].startswith(spec.partition(":")[0])
    assert "behind" in manifest["model"]["name"]
    findings = json.loads((run / "report.json").read_text(encoding="utf-8"))["findings"]
    assert len(findings) == 2 and all(one["verdict"] != "skipped" for one in findings)
    other = _run("audit", portfolio, "--model", model_folder, "--out", run)
    assert isinstance(other.exception, RunFolderError | CalibrationError | ConfigError), other.output


def test_a_spec_that_is_none_is_refused_before_anything_is_written(
    make_folder: Callable[..., Path], model_folder: Path, tmp_path: Path
) -> None:
    done = _run(
        "audit",
        make_folder("p", [1]),
        "--model",
        model_folder,
        "--mitigation",
        "hope",
        "--no-controls",
        "--out",
        tmp_path / "run",
    )
    assert isinstance(done.exception, ConfigError) and "expected one of descent" in str(done.exception)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_the_list_names_every_setting() -> None:
    said = CliRunner().invoke(app, ["mitigate", "list"]).output
    for word in ("descent", "rms", "iterations", "other_noise", "random-tokens", "count", "attention", "factor"):
        assert word in said
