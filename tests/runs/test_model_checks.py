import shutil
from pathlib import Path

import pytest
import torch

from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import RunFolderError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_image
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.report import finish_run
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.conclusion import conclude, decide_run
from imgaudit.runs.evidence import read_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.model_checking import keep_model_checks
from imgaudit.runs.model_checks import read_model_checks
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AlarmCode
from imgaudit.schema.model_checks import ModelCheck, ModelChecks
from tests.support.finished_run import run

__all__ = ["run"]

CONFIG = AuditConfig.model_validate({"effort": "quick", "framing": "pad"})


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic").clamp(-1, 1)


def saved(folder: Path, images: torch.Tensor) -> Portfolio:
    folder.mkdir()
    for number, image in enumerate(images):
        to_image(image).save(folder / f"{number}.png")
    return read_portfolio(folder, CaptionSource(folder))


def kept(
    run: Path, model: LoadedModel, controls: Portfolio | None, targets: Portfolio
) -> tuple[ModelChecks, list[str]]:
    notes: list[str] = []
    keep_model_checks(RunFolder(run), model, controls, targets, CONFIG, notes.append)
    checks = read_model_checks(RunFolder(run))
    assert checks is not None
    return checks, notes


@pytest.fixture
def model() -> LoadedModel:
    return LoadedModel(FiniteSetDenoiser(pictures(6)), "memoriser", "FiniteSetDenoiser", {})


def test_a_bank_holds_the_checks_and_audits_with_it_make_none(model: LoadedModel, tmp_path: Path) -> None:
    controls = saved(tmp_path / "controls", pictures(6, 1))
    config = AuditConfig.model_validate({"effort": "quick", "framing": "pad", "steps": 4, "score_after": 4, "seeds": 2})
    bank = measure_bank(tmp_path / "work", controls, model, config, note="made up")
    assert bank.model_checks is not None and bank.model_checks.source == "controls"
    assert (bank.model_checks.network_evaluations, bank.model_checks.seconds) == (0, 0.0)
    spent, run = model.denoiser.network_evaluations, RunFolder(tmp_path / "run")
    keep_model_checks(run, model, None, controls, config, known=bank.model_checks)
    assert read_model_checks(run) == bank.model_checks and model.denoiser.network_evaluations == spent
    bank.write(tmp_path / "bank.json")
    assert NullBank.read(tmp_path / "bank.json") == bank


def test_checks_are_made_once_with_controls_before_targets(model: LoadedModel, tmp_path: Path) -> None:
    known, others = saved(tmp_path / "known", pictures(6)), saved(tmp_path / "others", pictures(20, 1))
    checks, notes = kept(tmp_path / "run", model, known, others)
    assert (checks.source, checks.images, checks.failed, notes) == ("controls", 6, [], [])
    assert 0 < checks.network_evaluations == model.denoiser.network_evaluations <= 300
    assert kept(tmp_path / "run", model, known, others)[0] == checks
    assert model.denoiser.network_evaluations == checks.network_evaluations, "a continued run repeats nothing"
    checks, notes = kept(tmp_path / "again", model, None, others)
    assert (checks.source, checks.images) == ("targets", 16)
    [note] = notes
    assert f"failed {len(checks.failed)} of 11 checks" in note and "accepted: at most" in note


def test_images_that_cannot_be_looked_at_are_left_out(model: LoadedModel, tmp_path: Path) -> None:
    images = pictures(3)
    images[0] = 0.5
    targets = saved(tmp_path / "targets", images)
    (tmp_path / "targets" / "1.png").unlink()
    assert kept(tmp_path / "run", model, None, targets)[0].images == 1
    (tmp_path / "targets" / "2.png").unlink()
    keep_model_checks(RunFolder(tmp_path / "none"), model, None, targets, CONFIG, print)
    assert read_model_checks(RunFolder(tmp_path / "none")) is None


def with_checks(run: RunFolder, place: Path, passed: bool) -> RunFolder:
    copy = RunFolder(Path(shutil.copytree(run.path, place)))
    check = ModelCheck(name="spread <b>", value=0.23, low=0.5, high=2.0, passed=passed, sentence="it is 0.23 <b>")
    checks = ModelChecks(source="controls", images=16, network_evaluations=288, seconds=1.0, checks=(check,))
    copy.model_checks_path.write_text(checks.model_dump_json())
    return copy


def test_a_run_reports_its_checks_and_raises_an_alarm_for_one_that_failed(run: RunFolder, tmp_path: Path) -> None:
    bad = with_checks(run, tmp_path / "bad", False)
    result = conclude(bad)
    assert [alarm.code for alarm in result.summary.alarms] == [AlarmCode.MODEL_CHECK]
    assert result.summary.model_checks is not None and len(result.summary.model_checks.failed) == 1
    before = decide_run(run)
    assert before.summary.model_checks is None and "model_checks" not in before.summary.model_dump()
    spent = [finding.network_evaluations for finding in result.findings]
    assert spent == [finding.network_evaluations for finding in before.findings]
    finish_run(bad, result)
    assert "model_checks.json" in {file.path for file in read_evidence(bad).files}
    page = (bad.path / "report" / "index.html").read_text()
    assert "1 of 1 checks failed" in page and "it is 0.23 &lt;b&gt;" in page and "0.5 to 2" in page
    good = conclude(with_checks(run, tmp_path / "good", True))
    assert good.summary.alarms == before.summary.alarms


def test_damaged_checks_are_refused_with_what_to_do(run: RunFolder, tmp_path: Path) -> None:
    copy = with_checks(run, tmp_path / "run", True)
    copy.model_checks_path.write_text('{"checks": 3}')
    with pytest.raises(RunFolderError, match="delete it and audit again"):
        decide_run(copy)
