"""An audit that was sealed: it is refused in every point in which it departs, and says when it has another seed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import imgaudit
from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.exceptions import InputError, RunFolderError, VerificationError
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.seal import OTHER_RUNS, check_seal, read_seal
from imgaudit.schema.seal import Seal, canonical_json
from tests.conftest import random_image
from tests.support.wrapping import unwrap

FAST = ["--steps", "1", "--draws", "1", "--seeds", "1", "--num-inference-steps", "1", "--device", "cpu", "-q"]
OPTIONS = ["--steps", "1", "--draws", "1", "--seeds", "1", "--num-inference-steps", "1"]


class Case:
    """A folder of targets and one of controls, sealed by command."""

    def __init__(self, folder: Path, model: Path, targets: Path, controls: Path) -> None:
        self.folder, self.model, self.targets, self.controls = folder, model, targets, controls
        self.seal = folder / "seal.json"
        self.run = folder / "run"

    def invoke(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    def make_seal(self, *more: str) -> Result:
        return self.invoke(
            "seal", str(self.targets), "--model", str(self.model), "--controls", str(self.controls), *OPTIONS,
            "--output", str(self.seal), "--operator", "Ann", "--device", "cpu", *more,
        )  # fmt: skip

    def audit(self, *more: str, seal: bool = True) -> Result:
        given = ["--seal", str(self.seal)] if seal else []
        return self.invoke(
            "audit", str(self.targets), "--model", str(self.model), "--out", str(self.run), "--device", "cpu", "-q",
            *given, *more,
        )  # fmt: skip

    def refused(self, *more: str) -> str:
        """The message with which an audit under the seal is refused; nothing has been measured."""
        done = self.audit(*more)
        assert isinstance(done.exception, InputError), done.exception
        assert not (self.run / "records.jsonl").exists() and not (self.run / "calibration.json").exists()
        return str(done.exception)


@pytest.fixture
def case(model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path) -> Case:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    made = Case(tmp_path, model, make_folder("targets", range(2)), make_folder("controls", range(10, 13)))
    assert made.make_seal().exit_code == 0
    return made


def test_a_seal_names_everything_and_its_digest_is_that_of_the_file(case: Case) -> None:
    seal = read_seal(case.seal)
    sealed = seal.statement
    assert len(sealed.audit.targets) == 2 and len(sealed.controls.images) == 3  # type: ignore[union-attr]
    assert sealed.audit.operator == "Ann" and sealed.audit.seed == 0 and sealed.audit.started.startswith("20")
    assert sealed.audit.model.files and sealed.audit.protocol.hash == sealed.audit.protocol_hash
    assert sealed.audit.versions["imgaudit"] == imgaudit.__version__ and sealed.audit.measures
    assert case.seal.read_bytes() == canonical_json(json.loads(case.seal.read_bytes()))
    again = case.make_seal()
    assert isinstance(again.exception, InputError) and "never overwritten" in str(again.exception)
    case.seal.rename(case.folder / "first.json")
    printed = case.make_seal()
    assert f"sha256 {read_seal(case.seal).sha256}" in " ".join(
        printed.output.split()
    ) and "imgaudit timestamp request" in unwrap(printed.output)


def test_a_seal_needs_a_word_on_controls(case: Case) -> None:
    done = case.invoke("seal", str(case.targets), "--model", str(case.model), "--output", str(case.folder / "b.json"))
    assert isinstance(done.exception, InputError) and "--no-controls" in str(done.exception)


def test_no_image_is_given_to_the_model_while_it_is_sealed(case: Case) -> None:
    model = imgaudit.load_model(str(case.model), "cpu")
    before = model.denoiser.network_evaluations
    config = imgaudit.AuditConfig(no_controls=True)
    portfolio = imgaudit.read_portfolio(case.targets)
    model.denoiser.encode = lambda *_: pytest.fail("the autoencoder was run")  # type: ignore[method-assign]
    imgaudit.seal(model, portfolio, output=case.folder / "python.json", config=config)
    assert model.denoiser.network_evaluations == before


def test_an_audit_takes_everything_from_its_seal_and_verifies(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.audit().exit_code in (0, 3)
    run = RunFolder(case.run)
    assert run.seal_path.read_bytes() == case.seal.read_bytes()
    assert "seal.json" in {one["path"] for one in read_json(case.run / "evidence.json")["files"]}
    manifest = read_json(run.manifest_path)
    assert manifest["config"]["steps"] == {"value": 1, "source": "seal"} and manifest["operator"] == "Ann"
    seal = read_seal(case.seal)
    described = read_json(run.report_path)["run"]["seal"]
    assert described["sha256"] == seal.sha256 and described["other_seed"] == ""
    check = check_seal(run, seal.data)
    assert not check.problems and seal.sha256 in check.done and "2 targets, 3 controls" in check.done
    assert OTHER_RUNS in check.not_done
    done = case.invoke("verify", str(case.run), "--seal", str(case.seal))
    assert done.exit_code == 0 and f"compared with the seal {seal.sha256}" in unwrap(done.output), done.output
    # Continued without a word, the run keeps to its seal, and needs its controls no longer.
    shutil.rmtree(case.controls)
    with monkeypatch.context() as absent:
        absent.setattr(ModelChoice, "load", lambda self, device=None: pytest.fail("the model was loaded"))
        for seal in (False, True):
            assert case.audit(seal=seal).exit_code in (0, 3), "a finished run has nothing to do"
    (case.targets / "image-0.png").unlink(missing_ok=True)
    random_image(77).save(case.targets / "later.png")
    departed = case.audit(seal=False)
    assert isinstance(departed.exception, InputError) and "later.png' was added" in str(departed.exception)


def test_what_attests_the_seal_is_copied_into_the_run(case: Case) -> None:
    beside = case.folder / "seal.json.tsq"
    beside.write_bytes(b"a request")
    assert case.audit().exit_code in (0, 3)
    assert (case.run / "attestations" / beside.name).read_bytes() == b"a request"


def test_every_difference_in_files_is_named(case: Case) -> None:
    first, second = sorted(case.targets.glob("*.png"))
    first.write_bytes(second.read_bytes())
    random_image(50).save(second)
    random_image(51).save(case.targets / "new.png")
    control, *_ = sorted(case.controls.glob("*.png"))
    control.unlink()
    (case.targets / "broken.png").write_bytes(b"no image")
    message = case.refused()
    for part in (
        f"{first.name}' is missing", f"{second.name}' was added", "new.png' was added",
        "'broken.png' that is no target", f"control {str(control)!r} is missing",
    ):  # fmt: skip
        assert part in message, message
    assert "seal anew" in message


def test_a_changed_file_and_a_changed_text_are_named(case: Case) -> None:
    first, second = sorted(case.targets.glob("*.png"))
    random_image(50).save(first)
    second.with_suffix(".txt").write_text("another caption")
    message = case.refused()
    assert f"{first.name}' was changed" in message and f"{second.name}' has other prompts or captions" in message


def test_other_controls_and_decoys_are_named(case: Case, make_folder: Callable[..., Path]) -> None:
    others = make_folder("others", range(30, 32))
    message = case.refused("--controls", str(others), "--decoys", str(others))
    assert message.count("control ") == 5 and "2 decoys were added" in message


def test_options_and_policy_that_contradict_the_seal_are_refused(case: Case) -> None:
    message = case.refused("--seeds", "2", "--level", "0.1", "--steps", "1")
    assert "seeds: 2 (from command line), sealed 1" in message and "level: 0.1" in message and "steps" not in message
    policy = case.folder / "policy.toml"
    policy.write_text("level = 0.2\n")
    assert "policy level 0.2, sealed 0.05" in case.refused("--policy", str(policy))


def test_another_model_is_named_by_its_file(case: Case, other_model_folder: Path) -> None:
    shutil.rmtree(case.model)
    shutil.copytree(other_model_folder, case.model)
    message = case.refused()
    assert "model fingerprint" in message and "unet/diffusion_pytorch_model.safetensors' changed" in message
    assert "model prediction type v_prediction, sealed epsilon" in message


def test_another_version_of_imgaudit_is_refused(case: Case) -> None:
    content = json.loads(case.seal.read_bytes())
    content["audit"]["versions"] |= {"imgaudit": "0.0.1", "torch": "0.1"}
    case.seal.write_bytes(canonical_json(content))
    message = case.refused()
    assert "imgaudit 0.0.1 was sealed" in message and "torch" not in message


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda one: json.dumps(one).encode(), "not canonical JSON"),
        (lambda one: canonical_json(one | {"more": 1}), "no seal of this version"),
        (lambda one: canonical_json(one | {"audit": one["audit"] | {"protocol_hash": "0" * 64}}), "was edited"),
        (lambda one: canonical_json(one | {"audit": one["audit"] | {"seed": 5}}), "two seeds"),
        (lambda one: canonical_json(one | {"audit": one["audit"] | {"config": {}}}), "two seeds|lacks the option"),
        (lambda one: b"[" * 100_000, "cannot be read as a seal"),
        (lambda one: b"\xff", "cannot be read as a seal"),
    ],
)
def test_an_edited_seal_is_refused(case: Case, edit: Callable[[dict[str, object]], bytes], why: str) -> None:
    case.seal.write_bytes(edit(json.loads(case.seal.read_bytes())))
    with pytest.raises(InputError, match=why):
        read_seal(case.seal)
    assert case.refused()


def test_another_seed_is_a_further_run_of_the_same_statement(case: Case) -> None:
    assert case.audit("--seed", "7").exit_code in (0, 3)
    run = RunFolder(case.run)
    said = "seed 7 is another seed than the sealed one (0)"
    assert said in read_json(run.report_path)["run"]["seal"]["other_seed"]
    check = check_seal(run)
    assert said in check.done and not check.problems
    assert case.audit("--seed", "7").exit_code in (0, 3)
    assert case.audit(seal=False).exit_code in (0, 3), "a run that is continued keeps its own seed"
    report = case.run / "report"
    plain = {report / "glossary.html", *report.glob("list-*.html")}
    for page in set(report.glob("*.html")) - plain:
        assert said in page.read_text(encoding="utf-8"), page


def test_a_comparison_names_runs_of_the_same_seal_with_other_seeds(case: Case) -> None:
    first = case.run
    assert case.audit().exit_code in (0, 3)
    case.run = case.folder / "second"
    assert case.audit("--seed", "7").exit_code in (0, 3)
    case.run = case.folder / "third"
    assert case.audit(*FAST, "--no-controls", seal=False).exit_code in (0, 3)

    def said(other: Path) -> str:
        return next(one.message for one in imgaudit.compare(first, other).differences if one.subject == "seal")

    assert "both runs are of the same seal" in said(case.folder / "second")
    assert "A has seed 0, B has seed 7" in said(case.folder / "second")
    assert "no seal in B" in said(case.run)


def test_a_run_begun_without_a_seal_or_with_another_takes_none(case: Case) -> None:
    assert case.audit(*FAST, "--no-controls", seal=False).exit_code in (0, 3)
    before = {path: path.read_bytes() for path in case.run.rglob("*") if path.is_file()}
    done = case.audit()
    assert isinstance(done.exception, RunFolderError) and "begun without a seal" in str(done.exception)
    assert {path: path.read_bytes() for path in case.run.rglob("*") if path.is_file()} == before
    assert check_seal(RunFolder(case.run)).not_done and not check_seal(RunFolder(case.run)).problems
    done = case.invoke("verify", str(case.run), "--seal", str(case.seal))
    assert isinstance(done.exception, VerificationError) and "seal.json is missing" in unwrap(done.output)
    shutil.rmtree(case.run)
    assert case.audit().exit_code in (0, 3)
    case.seal.unlink()
    assert case.make_seal("--chunk-size", "2").exit_code == 0
    done = case.audit()
    assert isinstance(done.exception, RunFolderError) and "was begun with the seal" in str(done.exception)


def test_a_run_that_contradicts_its_seal_or_the_copy_is_found(case: Case, tmp_path: Path) -> None:
    assert case.audit().exit_code in (0, 3)
    run, copy = RunFolder(case.run), case.seal.read_bytes()

    def edited(**changes: object) -> bytes:
        content = json.loads(copy)
        return canonical_json(content | {"audit": content["audit"] | changes})

    other = edited(started="2020-01-01T00:00:00+00:00", targets=[])
    wrong = check_seal(run, other).problems
    assert "but the seal given is" in wrong[0] and any("was added" in one for one in wrong)
    assert any("the seal given was edited" in one for one in check_seal(run, b"{ }").problems)
    case.seal.write_bytes(other)
    done = case.invoke("verify", str(case.run), "--seal", str(case.seal))
    assert isinstance(done.exception, VerificationError) and "the seal given is" in unwrap(done.output)
    assert ExitCode.VERIFICATION_FAILED == 5

    def problems(data: bytes) -> str:
        run.seal_path.write_bytes(data)
        return "; ".join(check_seal(run).problems)

    assert "departs from seal.json: target" in problems(edited(targets=[]))
    assert "no target of seal.json" in problems(edited(targets=[]))
    assert "before it was sealed" in problems(edited(started="2999-01-01T00:00:00+00:00"))
    bank = json.loads(copy)["controls"]
    content = json.loads(copy) | {"controls": bank | {"images": bank["images"][:2]}}
    assert "calibration.json has 1 controls that seal.json does not name" in problems(canonical_json(content))
    assert "canonical" in problems(copy + b" ")
    run.seal_path.unlink()
    assert check_seal(run).problems == ("report.json says that the run was sealed, but seal.json is missing",)
    run.seal_path.write_bytes(copy)
    assert not check_seal(run).problems
    report = read_json(run.report_path)
    report["run"]["seal"]["sealed"] = "2020-01-01T00:00:00+00:00"
    write_json(run.report_path, report)
    assert any("something else of the seal" in one for one in check_seal(run).problems)
    held = read_json(run.calibration_path)
    gone = held["controls"].pop()["sha256"]
    held["sources"][0]["sha256s"].remove(gone)
    write_json(run.calibration_path, held)
    assert any("lacks the control" in one for one in check_seal(run).problems)


def test_a_bank_is_sealed_by_its_content(case: Case) -> None:
    bank = case.folder / "bank.json"
    done = case.invoke("calibrate", str(case.controls), "--model", str(case.model), "--out", str(bank), *FAST)
    assert done.exit_code == 0, done.exception
    case.seal.unlink()
    done = case.invoke(
        "seal", str(case.targets), "--model", str(case.model), "--calibration", str(bank), *FAST, "--output",
        str(case.seal),
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    content = read_json(bank)
    content["sources"][0]["note"] = "another note"
    write_json(bank, content)
    assert "controls: the null bank" in case.refused()
    content["sources"][0]["note"] = f"folder {case.controls}"
    write_json(bank, content)
    assert case.audit().exit_code in (0, 3)
    assert not check_seal(RunFolder(case.run)).problems
    write_json(case.run / "calibration.json", content | {"model": "another"})
    assert any("another null bank" in one for one in check_seal(RunFolder(case.run)).problems)


def test_from_python(case: Case) -> None:
    model = imgaudit.load_model(str(case.model), "cpu")
    config = imgaudit.AuditConfig(
        effort=imgaudit.Effort.QUICK, steps=1, draws=1, seeds=1, num_inference_steps=1, no_controls=True
    )
    portfolio = imgaudit.read_portfolio(case.targets)
    made = imgaudit.seal(model, portfolio, output=case.folder / "python.json", config=config)
    assert isinstance(made, Seal) and made.statement.audit.command[0] == "imgaudit.seal"
    other = config.model_copy(update={"chunk_size": 3})
    with pytest.raises(InputError, match="option chunk_size: 3, sealed 8"):
        imgaudit.audit(model, portfolio, out=case.run, config=other, seal=made)
    result = imgaudit.audit(model, portfolio, out=case.run, seal=case.folder / "python.json")
    assert result.run["seal"]["sha256"] == made.sha256 and not check_seal(RunFolder(case.run), made.data).problems
    assert imgaudit.verify(case.run, sealed=case.folder / "python.json").matches
