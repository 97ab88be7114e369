"""InvMM in an audit: measured beside the verdict, for targets and controls alike, and never part of it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder
from imgaudit.exceptions import CalibrationError, ConfigError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import LoadedModel, load_model
from imgaudit.report.formats import render_csv, render_markdown, write_report
from imgaudit.report.wording import INVMM_LIMIT
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.work import expected_work, invmm_work
from imgaudit.schema.config import AuditConfig, resolve_config
from imgaudit.schema.findings import AuditResult, Verdict
from imgaudit.schema.protocol import Framing, InvMMConfig, Protocol
from imgaudit.schema.records import REPLICA_PATH, InvMMMeasurement, Rung, RungMeasurement, Skipped
from tests.support.records import PROTOCOL, bank, measurement, rung

OPTIONS: dict[str, Any] = {
    "steps": 2, "draws": 2, "seeds": 2, "num_inference_steps": 2, "chunk_size": 2, "device": "cpu", "score_after": 1,
    "framing": Framing.PAD, "level": 0.2, "rungs": ("caption", "embedding"), "measures": ("invmm",), "invmm_steps": 2,
}  # fmt: skip
COPY, OTHER = (0.99, 0.02), (0.3, 0.4)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


def audit(
    folder: Path, model: LoadedModel, out: Path, bank: NullBank, stop_after: int | None = None, **options: Any
) -> AuditResult:
    config = AuditConfig.model_validate(OPTIONS | options)
    portfolio = read_portfolio(folder, CaptionSource(folder))
    run = RunFolder(out)
    with run.lock():
        open_manifest(run.path, make_manifest(["imgaudit"], config, {}, model, portfolio))
        bank.write(run.calibration_path)
        for count, _ in enumerate(measure_targets(run, portfolio, model, config), 1):
            if count == stop_after:
                break
        result = conclude(run)
        write_report(run, result)
    return result


@pytest.fixture
def controls(make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path) -> NullBank:
    folder = make_folder("controls", range(50, 54))
    portfolio = read_portfolio(folder, CaptionSource(folder))
    return measure_bank(tmp_path / "work", portfolio, model, AuditConfig.model_validate(OPTIONS), note="other seeds")


def without_clock(result: AuditResult) -> list[dict[str, Any]]:
    return [finding.model_dump(mode="json", exclude={"seconds"}) for finding in result.findings]


@pytest.mark.slow
def test_an_audit_measures_it_for_targets_and_controls_and_resumes(
    make_folder: Callable[..., Path], model: LoadedModel, controls: NullBank, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(3))
    whole = audit(folder, model, tmp_path / "whole", controls)
    assert all(control.invmm is not None and Rung.EMBEDDING_NOISE in control.rungs for control in controls.controls)
    config = AuditConfig.model_validate(OPTIONS)
    for finding in whole.findings:
        found = finding.invmm
        assert found is not None and found.condition == "mixture" and found.steps == 2
        assert isinstance(found.kl_per_dimension, Skipped) and "no check succeeded in 2 steps" in str(found)
        # The tiny model's autoencoder renders nothing, which takes its p-value away as it does the score's.
        assert isinstance(found.p_value, Skipped) and found.p_value == finding.p_value
        assert 2 * 2 * 16 < found.network_evaluations <= invmm_work(config.protocol).evaluations
        others = expected_work(config.protocol.deciding, 2, captioned=True, prediction_type="epsilon").evaluations
        # What it is asked with has a rung of its own: as many seeds as the others.
        assert finding.network_evaluations == others + found.network_evaluations + 2 * 2 * 2
        assert finding.network_evaluations <= expected_work(config.protocol, 2, captioned=True).evaluations
        [noisy] = [one for one in finding.replication if one.rung is Rung.EMBEDDING_NOISE]
        assert noisy.n == 2 and not noisy.stands and noisy.null_rung is Rung.EMBEDDING_NOISE
        assert not isinstance(noisy.control_rate, Skipped)
    measured, _ = RunFolder(tmp_path / "whole").read_measurements()
    for one in measured:
        ladder = one.rungs[Rung.EMBEDDING_NOISE]
        assert isinstance(ladder, RungMeasurement)
        for replica in ladder.replicas:
            assert re.search(REPLICA_PATH, replica.path) and (tmp_path / "whole" / replica.path).is_file()
        assert (tmp_path / "whole" / "images" / one.id / "noise.safetensors").is_file()

    partial = audit(folder, model, tmp_path / "stopped", controls, stop_after=2)
    assert len(partial.findings) == 2
    resumed = audit(folder, model, tmp_path / "stopped", controls)
    assert without_clock(resumed) == without_clock(whole)

    page = (tmp_path / "whole" / "report" / f"{whole.findings[0].id}.html").read_text(encoding="utf-8")
    assert "InvMM: how far the noise has to be moved" in page and INVMM_LIMIT in page and "reported only" in page
    assert f"replicas/embedding+noise-g3-{0:04d}.png" in page
    assert "embedding+noise_hits" in render_csv(whole) and "invmm_kl_per_dimension" in render_csv(whole)
    assert INVMM_LIMIT in render_markdown(whole)


def test_nothing_changes_where_it_is_not_measured() -> None:
    protocol = Protocol()
    assert "invmm" not in protocol.canonical() and protocol.differences(Protocol(invmm=InvMMConfig()))
    assert invmm_work(protocol).evaluations == 0
    one = measurement("a", 0.1, [OTHER] * 8)
    assert "invmm" not in one.model_dump(mode="json")
    [finding] = conclude_folder(FolderDecision([one], Evidence(bank(40), PROTOCOL)))
    dumped = finding.model_dump(mode="json")
    assert "invmm" not in dumped and "embedding+noise" not in json.dumps(dumped)
    assert all("invmm" not in control.model_dump(mode="json") for control in bank(3).controls)


def searched(kl: float | Skipped) -> InvMMMeasurement:
    return InvMMMeasurement(kl_per_dimension=kl, elements=4, steps=9, condition="mixture", network_evaluations=5)


def noisy(name: str, kl: float | Skipped, pairs: list[tuple[float, float]]) -> Any:
    """A target that no control differs from, with learned noise."""
    one = measurement(name, 0.1, [OTHER] * 8)
    found = searched(kl)
    return one.model_copy(update={"rungs": one.rungs | {Rung.EMBEDDING_NOISE: rung(pairs)}, "invmm": found})


def measured_bank(values: list[float | Skipped], protocol: Protocol) -> NullBank:
    plain = bank(len(values), protocol=protocol)
    seeds = plain.controls[0].rungs[Rung.EMBEDDING]
    forced = [replace(seed, similarity=0.999, distance=0.001) for seed in seeds]
    controls = [
        control.model_copy(update={"invmm": value, "rungs": control.rungs | {Rung.EMBEDDING_NOISE: forced}})
        for control, value in zip(plain.controls, values, strict=True)
    ]
    return plain.model_copy(update={"controls": controls})


FAILED = Skipped(skipped="no check succeeded")
WITH_INVMM = PROTOCOL.model_copy(update={"invmm": InvMMConfig()})


def test_copies_from_learned_noise_are_reported_and_decide_nothing() -> None:
    held = measured_bank([0.1] * 40, WITH_INVMM)
    targets = [noisy("a", 0.01, [COPY] * 8), measurement("b", 0.1, [OTHER] * 8)]
    with_noise, without = conclude_folder(FolderDecision(targets, Evidence(held, WITH_INVMM)))
    assert with_noise.verdict is without.verdict is Verdict.NOT_REPRODUCED
    assert with_noise.reason == without.reason
    [shown] = [one for one in with_noise.replication if one.rung is Rung.EMBEDDING_NOISE]
    assert shown.hits == 8 and not shown.stands and isinstance(shown.q_value, Skipped)
    assert with_noise.best_replica == without.best_replica
    # The controls' learned noise returns them all, which makes no threshold stricter and stands beside the rate.
    assert held.thresholds(0.05) == bank(40).thresholds(0.05) and shown.control_rate == 1.0
    assert held.null_rung(Rung.EMBEDDING) is Rung.EMBEDDING


@pytest.mark.parametrize(
    ("kl", "p_value"), [(0.001, 1 / 5), (0.02, 2 / 5), (0.05, 4 / 5), (FAILED, 1.0)], ids=["low", "tie", "high", "none"]
)
def test_p_ranks_divergences_with_failures_last(kl: float | Skipped, p_value: float) -> None:
    held = measured_bank([0.02, 0.03, 0.04, FAILED], WITH_INVMM)
    assert held.invmm_p_value(searched(kl), WITH_INVMM) == pytest.approx(p_value)


def test_mixtures_and_embeddings_are_not_compared() -> None:
    def under(condition: Literal["mixture", "embedding"] | None) -> NullBank:
        held = measured_bank([0.02, 0.03], WITH_INVMM)
        controls = [control.model_copy(update={"invmm_condition": condition}) for control in held.controls]
        return held.model_copy(update={"controls": controls})

    measured = searched(0.01).model_copy(update={"condition": "embedding"})
    refused = under("mixture").invmm_p_value(measured, WITH_INVMM)
    assert isinstance(refused, Skipped) and "calibrate again" in refused.skipped and "embedding" in refused.skipped
    for condition in ("embedding", None):
        assert under(condition).invmm_p_value(measured, WITH_INVMM) == pytest.approx(1 / 3)


def test_a_bank_without_it_gives_everything_but_its_p_value() -> None:
    plain = bank(40)
    plain.require("f", WITH_INVMM)
    [finding] = conclude_folder(FolderDecision([noisy("a", 0.01, [COPY] * 8)], Evidence(plain, WITH_INVMM)))
    assert finding.invmm is not None and isinstance(finding.invmm.p_value, Skipped)
    assert not isinstance(finding.p_value, Skipped)
    [shown] = [one for one in finding.replication if one.rung is Rung.EMBEDDING_NOISE]
    assert "calibrate with --measure invmm" in str(shown.control_rate) and shown.p_value == shown.control_rate
    held = measured_bank([0.1] * 40, WITH_INVMM)
    held.require("f", PROTOCOL)
    with pytest.raises(CalibrationError, match="only one of the null banks was measured by InvMM"):
        plain.merge(held)
    other = WITH_INVMM.model_copy(update={"invmm": InvMMConfig(steps=7)})
    assert isinstance(held.invmm_p_value(searched(0.1), other), Skipped)


def test_it_is_an_option_a_key_and_a_variable(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "imgaudit.toml").write_text('measures = ["invmm"]\ninvmm_steps = 50\n', encoding="utf-8")
    config, sources = resolve_config({}, {}, tmp_path / "project")
    assert config.protocol.invmm == InvMMConfig(steps=50) and "imgaudit.toml" in sources["measures"]
    config, _ = resolve_config({}, {"IMGAUDIT_MEASURES": "invmm"}, tmp_path)
    assert config.protocol.invmm is not None
    with pytest.raises(ConfigError, match="measures"):
        resolve_config({"measures": ("nothing",)}, {}, tmp_path)
    with pytest.raises(ConfigError, match="add --measure invmm"):
        resolve_config({"invmm_steps": 5}, {}, tmp_path)


def test_a_dry_run_counts_it(make_folder: Callable[..., Path], model_folder: Path) -> None:
    folder = make_folder("portfolio", range(2))
    command = ["audit", str(folder), "--model", str(model_folder), "--effort", "quick", "--dry-run", "--quiet"]
    command += ["--num-inference-steps", "2"]
    plain = CliRunner().invoke(app, command)
    moved = CliRunner().invoke(app, [*command, "--measure", "invmm", "--invmm-steps", "10"])
    assert plain.exit_code == moved.exit_code == 0, moved.output

    def total(text: str) -> int:
        [found] = re.findall(r"Network evaluations: at most ([\d,]+)", text)
        return int(found.replace(",", ""))

    protocol = AuditConfig.model_validate(
        {"effort": "quick", "num_inference_steps": 2, "measures": ("invmm",), "invmm_steps": 10}
    ).protocol
    assert total(moved.stdout) - total(plain.stdout) == 2 * invmm_work(protocol).evaluations
    assert "Of them InvMM" in moved.stdout and "InvMM" not in plain.stdout
