"""An audit of a model without a null branch: it has a score, and says what the score is compared with."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.decision.null_bank import NullBank
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.baseline import BASELINE_WORDING
from imgaudit.schema.findings import AlarmCode
from imgaudit.schema.records import ErrorMeasurement
from tests.support.distilled import make_distilled
from tests.support.wrapping import unwrap

BUDGET = ("--steps", "2", "--draws", "2", "--score-after", "2", "--seeds", "2", "--num-inference-steps", "2",
          "--device", "cpu", "--rung", "embedding")  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_distilled().pipeline.save_pretrained(tmp_path / "model", safe_serialization=True)
    return tmp_path / "model"


def imgaudit(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in (0, 1, 3), (result.output, result.exception)
    return result.output + result.stderr


def test_a_distilled_model_is_calibrated_and_audited_with_a_score(
    model: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    controls, targets, bank = (
        make_folder("controls", range(50, 70)),
        make_folder("targets", [1, 2]),
        tmp_path / "b.json",
    )
    imgaudit("calibrate", controls, "--model", model, "--out", bank, "--note", "other seeds", *BUDGET)
    assert NullBank.read(bank).baselines == {"start"}
    said = imgaudit("audit", targets, "--model", model, "--calibration", bank, "--out", tmp_path / "run", *BUDGET)
    assert "guidance-distilled (its UNet embeds the guidance scale): it has no null branch; errors are" in unwrap(said)
    assert BASELINE_WORDING["start"] in " ".join(said.split())
    run = RunFolder(tmp_path / "run")
    for measurement in run.read_measurements()[0]:
        assert isinstance(measurement.error, ErrorMeasurement) and measurement.error.baseline == "start"
    for finding in conclude(run).findings:
        assert isinstance(finding.score, float)
        assert AlarmCode.NO_NULL_BRANCH in {alarm.code for alarm in finding.alarms}
