"""The library: an audit from Python is the audit that the command makes, and says so."""

import inspect
import json
import typing
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

import imgaudit
from imgaudit import (
    AuditConfig,
    AuditResult,
    LoadedModel,
    audit,
    calibrate,
    compare,
    load_model,
    read_portfolio,
    verify,
)
from imgaudit.cli import app
from imgaudit.exceptions import CalibrationError, InputError, RunFolderError
from imgaudit.io.offline import go_online, is_offline
from imgaudit.schema.protocol import Framing

CONFIG = AuditConfig(effort="quick", framing="pad", steps=2, draws=1, score_after=1, seeds=2, num_inference_steps=2,
                     guidance_scales=(3.0,), device="cpu", batch_size=64)  # fmt: skip
OPTIONS = """
    --effort quick --framing pad --steps 2 --draws 1 --score-after 1 --seeds 2 --num-inference-steps 2 --device cpu
    --guidance-scale 3 --batch-size 64 --quiet
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


def findings(folder: Path) -> object:
    """Of a run, without the time that was spent."""
    kept = json.loads((folder / "report.json").read_text())["findings"]
    return [{key: value for key, value in one.items() if key != "seconds"} for one in kept]


def test_python_and_the_command_give_the_same_run(
    model: LoadedModel, model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    images, others = make_folder("images", [1, 2]), make_folder("controls", range(10, 14))
    stages: list[tuple[str, int, int]] = []
    result = audit(
        model, read_portfolio(images, framing="pad"), controls=read_portfolio(others), config=CONFIG,
        out=tmp_path / "python", on_progress=lambda *seen: stages.append(seen),
    )  # fmt: skip
    command = ["audit", images, "--model", model_folder, "--controls", others, "--out", tmp_path / "shell", *OPTIONS]
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code in (0, 1, 3), done.output
    assert findings(tmp_path / "python") == findings(tmp_path / "shell")
    assert isinstance(result, AuditResult) and len(result.findings) == 2
    assert stages[-1] == ("auditing", 2, 2) and ("measuring controls", 4, 4) in stages
    for made in ("python", "shell"):
        assert (tmp_path / made / "report" / "index.html").is_file()
        assert verify(tmp_path / made).matches
    page = (tmp_path / "python" / "report" / "index.html").read_text(encoding="utf-8")
    assert "imgaudit.audit(load_model(" in page
    same = compare(tmp_path / "python", tmp_path / "shell")
    assert same.same_model and same.matched == 2
    assert "<table" in result._repr_html_()


def test_a_bank_serves_audits_and_belongs_to_its_protocol(
    model: LoadedModel, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    bank = calibrate(model, read_portfolio(make_folder("controls", range(5))), out=tmp_path / "bank.json",
                     config=CONFIG, note="drawn by a generator")  # fmt: skip
    assert len(bank.controls) + len(bank.kept_out) == 5 and bank.sources[0].note == "drawn by a generator"
    portfolio = read_portfolio(make_folder("images", [7]), framing="pad")
    result = audit(model, portfolio, controls=bank, config=CONFIG, out=tmp_path / "run", on_note=notes.append)
    assert result.summary.controls == len(bank.controls)
    # Weights at random fail the checks of a model, of which a user is told.
    assert len(notes) == 1 and "the model failed" in notes[0]
    other = CONFIG.model_copy(update={"seeds": 3})
    with monkeypatch.context() as patch:
        # Refused before anything is measured, memory included.
        patch.setattr("imgaudit.runs.cost.measured_batch", lambda *given, **more: pytest.fail("measured"))
        unknown = other.model_copy(update={"batch_size": "auto"})
        with pytest.raises(CalibrationError, match="protocol"):
            audit(model, portfolio, controls=bank, config=unknown, out=tmp_path / "other")
    assert not (tmp_path / "other" / "manifest.json").exists()
    more = calibrate(model, read_portfolio(make_folder("more", range(20, 23))), out=tmp_path / "bank.json",
                     config=CONFIG, append=True)  # fmt: skip
    assert len(more.controls) + len(more.kept_out) == 8


def test_what_a_caller_raises_stops_the_audit_and_the_same_call_continues_it(
    model: LoadedModel, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    portfolio = read_portfolio(make_folder("images", range(3)), framing="pad")
    config = CONFIG.model_copy(update={"chunk_size": 1})

    def stop(stage: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(model, portfolio, config=config, out=tmp_path / "run", on_progress=stop)
    begun = (tmp_path / "run" / "records.jsonl").read_bytes()
    result = audit(model, portfolio, config=config, out=tmp_path / "run")
    assert len(result.findings) == 3 and (tmp_path / "run" / "records.jsonl").read_bytes().startswith(begun)
    with pytest.raises(RunFolderError, match="seed 0, now 5"):
        audit(model, portfolio, config=config.model_copy(update={"seed": 5}), out=tmp_path / "run")


def test_only_a_run_that_measured_images_without_controls_is_said_to_have_begun_without(
    model: LoadedModel, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    portfolio = read_portfolio(make_folder("images", [1]), framing="pad")
    controls = read_portfolio(make_folder("controls", [2, 3]), framing="pad")

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "measuring controls":
            raise KeyboardInterrupt

    for name, given, said in (("stopped", controls, False), ("without", None, True)):
        notes: list[str] = []
        with suppress(KeyboardInterrupt):
            audit(model, portfolio, controls=given, config=CONFIG, out=tmp_path / name, on_progress=stop)
        audit(model, portfolio, controls=controls, config=CONFIG, out=tmp_path / name, on_note=notes.append)
        assert any("begun without controls" in note for note in notes) is said, name


def test_a_portfolio_of_another_framing_is_refused(
    model: LoadedModel, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_folder("images", [1])
    for framing, said in (("crop", "crop"), (None, "none")):
        with pytest.raises(InputError, match=f"read with framing {said}, .*framing='pad'"):
            audit(model, read_portfolio(folder, framing=framing), config=CONFIG, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_offline_holds_from_python_too(
    model: LoadedModel, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = CONFIG.model_copy(update={"offline": True, "framing": Framing.CROP})
    monkeypatch.setattr("imgaudit.api.run_audit", lambda *given, **more: pytest.fail("reached"))
    portfolio = read_portfolio(make_folder("images", [1]), framing="pad")
    try:
        with pytest.raises(InputError):
            audit(model, portfolio, config=asked, out=tmp_path / "run")
        assert not is_offline()
        with pytest.raises(pytest.fail.Exception, match="reached"):
            audit(model, portfolio, config=asked.model_copy(update={"framing": Framing.PAD}), out=tmp_path / "run")
        assert is_offline()
    finally:
        go_online()


def test_a_head_that_is_too_short_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 12 hexadecimal digits"):
        verify(tmp_path, "abc")


def test_public_functions_have_real_types() -> None:
    for name in ("audit", "calibrate", "compare", "load_model", "read_portfolio", "verify"):
        hints = typing.get_type_hints(getattr(imgaudit, name))
        assert typing.Any not in hints.values() and hints["return"] is not type(None), name
        assert set(hints) - {"return"} == set(inspect.signature(getattr(imgaudit, name)).parameters)
