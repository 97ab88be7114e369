import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from imgaudit.cli import main, terminal
from imgaudit.cli.exit_codes import ExitCode, find_exit_code
from imgaudit.exceptions import OfflineError
from imgaudit.schema.config import FailOn, resolve_config
from imgaudit.schema.findings import AuditResult, Summary, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Skipped
from tests.support.commands import Commands
from tests.support.records import PROTOCOL
from tests.support.wrapping import unwrap

FAST = [
    "--device",
    "cpu",
    "--steps",
    "2",
    "--draws",
    "2",
    "--seeds",
    "2",
    "--num-inference-steps",
    "2",
    "--framing",
    "pad",
]


def test_help_loads_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys; from imgaudit.cli import main; sys.argv = ['imgaudit', 'audit', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "loaded = {'torch', 'diffusers', 'transformers', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--controls" in done.stdout


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "imgaudit", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "No such command" in unwrap(done.stderr) and "Traceback" not in unwrap(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], 2, "No such command"),
        (["audit"], 2, "Missing argument"),
        (["audit", "/nowhere", "--model", "demo", "--no-controls"], 2, "TARGETS: there is no"),
        (["report", "/nowhere"], 2, "RUN: there is no"),
        (["report", "/"], 2, "not a run folder"),
        (["report", ".", "--format", "pdf"], 2, "--format must be one of"),
    ],
)
def test_what_cannot_run_says_why_and_exits_with_two(
    arguments: list[str], code: int, message: str, run_imgaudit: Commands
) -> None:
    done = run_imgaudit(*arguments)
    assert done.code == code
    assert message in unwrap(done.stderr) and "Traceback" not in unwrap(done.stderr)


def test_a_refused_model_exits_with_four(
    make_folder: Callable[..., Path], run_imgaudit: Commands, tmp_path: Path
) -> None:
    done = run_imgaudit(
        "audit", make_folder("p", [1]), "--model", tmp_path / "none", "--no-controls", "--out", tmp_path / "run"
    )
    assert done.code == 4 and "model refused" in unwrap(done.stderr)
    plan = run_imgaudit("audit", tmp_path / "p", "--model", tmp_path / "none", "--dry-run")
    assert plan.code == 4 and "was not found: expected a model folder" in unwrap(plan.stderr) and not plan.stdout


def test_an_audit_from_the_terminal(
    make_folder: Callable[..., Path], model_folder: Path, run_imgaudit: Commands, tmp_path: Path
) -> None:
    portfolio, controls = make_folder("portfolio", range(3)), make_folder("controls", range(10, 14))
    (portfolio / "[bold]x[red].png").write_bytes(b"not an image")
    plan = run_imgaudit("audit", portfolio, "--model", model_folder, "--controls", controls, *FAST, "--dry-run")
    assert plan.code == 0 and "4 files: 3 images to audit, 1 would be skipped" in plan.stdout
    shown = unwrap(plan.stdout)
    assert "too few to find any of 3 images" in shown
    assert "With fewer than 39 controls that count, no image can be called not reproduced" in shown
    assert "inconclusive. 4 controls would count." in shown

    run = tmp_path / "run"
    done = run_imgaudit(
        "audit", portfolio, "--model", model_folder, "--controls", controls, "--out", run, *FAST, "--json"
    )
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert f"protocol {manifest['protocol_hash'][:16]}, policy {manifest['policy_hash'][:16]}" in shown
    assert done.code == 3, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 5 and lines[-1]["targets"] == 4 and lines[-1]["controls"] == 4
    assert (run / "report" / "index.html").is_file() and (run / "evidence.json").is_file()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["config"]["steps"] == {"value": 2, "source": "command line"}

    again = run_imgaudit("report", run, "--format", "csv")
    assert again.code == 3 and again.stdout.count("\n") == 5
    table = run_imgaudit("audit", portfolio, "--model", model_folder, "--out", run, *FAST)
    assert "[bold]x[red].png" in table.stdout and table.code == 3

    bank = tmp_path / "bank.json"
    made = run_imgaudit("calibrate", controls, "--model", model_folder, "--out", bank, *FAST)
    assert made.code == 0, made.stderr
    wrong = run_imgaudit(
        "audit", portfolio, "--model", model_folder, "--calibration", bank, "--out", tmp_path / "r2", "--device", "cpu"
    )
    assert wrong.code == 2 and "another protocol" in unwrap(wrong.stderr)
    before = (run / "calibration.json").read_bytes()
    for option, given, said in (
        ("--controls", portfolio, "begun with other controls"),
        ("--calibration", bank, "begun with another null bank"),
    ):
        other = run_imgaudit("audit", portfolio, "--model", model_folder, option, given, "--out", run, *FAST)
        assert other.code == 2 and said in unwrap(other.stderr), other.stderr
    assert (run / "calibration.json").read_bytes() == before


def test_a_plan_without_text_rungs_still_counts_what_it_costs(
    model_folder: Path, make_folder: Callable[..., Path], run_imgaudit: Commands
) -> None:
    command = ["audit", make_folder("portfolio", range(2)), "--model", model_folder, *FAST, "--dry-run"]
    plan = run_imgaudit(*command, "--rung", "embedding", "--rung", "tokens", "--token-evaluations", "300")
    assert all(f"  {rung}: " in plan.stdout for rung in ("embedding", "tokens")) and "caption: " not in plan.stdout
    one = run_imgaudit(*command, "--rung", "embedding")
    costs = [int(re.search(r"evaluations: at most ([0-9,]+)", p.stdout)[1].replace(",", "")) for p in (plan, one)]  # type: ignore[index]
    assert costs[0] - costs[1] >= 2 * 272 and costs[1] > 0


def test_one_reason_for_all_is_said_once(model_folder: Path, run_imgaudit: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"no image")
    done = run_imgaudit("audit", folder, "--model", model_folder, "--no-controls", "--out", tmp_path / "run", *FAST)
    assert done.code == 3
    assert "all 3 images were skipped for the same reason: " in unwrap(done.stdout)
    assert "0.png" not in done.stdout and "3 images: 3 skipped" in done.stdout


def test_exit_codes_follow_the_verdicts() -> None:
    def result(**counts: int) -> AuditResult:
        every = dict.fromkeys(Verdict, 0) | {Verdict(name): count for name, count in counts.items()}
        summary = Summary(
            targets=4, counts=every, controls=1, level=0.05, planner="", false_positive=Skipped(skipped="not measured"),
            forcing=Skipped(skipped="none"), hypotheses=4, alarms=[], seconds=0, network_evaluations=0,
        )  # fmt: skip
        return AuditResult(run={}, protocol=PROTOCOL, policy=Policy(), redecided=[], summary=summary, findings=[])

    assert find_exit_code(result(not_reproduced=4), FailOn.REPLICATED) is ExitCode.DECIDED
    assert find_exit_code(result(not_reproduced=3, replicated=1), FailOn.REPLICATED) is ExitCode.REPRODUCED
    assert find_exit_code(result(not_reproduced=3, replicated=1), FailOn.NEVER) is ExitCode.DECIDED
    assert find_exit_code(result(not_reproduced=3, atypical=1), FailOn.REPLICATED) is ExitCode.DECIDED
    assert find_exit_code(result(not_reproduced=3, atypical=1), FailOn.ATYPICAL) is ExitCode.REPRODUCED
    assert find_exit_code(result(not_reproduced=3, skipped=1), FailOn.REPLICATED) is ExitCode.INCOMPLETE
    assert find_exit_code(result(not_reproduced=3), FailOn.REPLICATED) is ExitCode.INCOMPLETE
    assert find_exit_code(result(inconclusive=2, skipped=2, replicated=1), FailOn.NEVER) is ExitCode.DECIDED
    assert find_exit_code(result(inconclusive=4), None) is ExitCode.INCOMPLETE
    assert find_exit_code(result(replicated=4), None) is ExitCode.DECIDED


def test_doctor_says_what_would_be_skipped(run_imgaudit: Commands) -> None:
    done = run_imgaudit("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["faiss"]["state"] == "ok" and checks["descriptors"]["state"] == "ok"
    assert checks["lpips"]["state"] in {"ok", "skipped"} and checks["lpips"]["detail"]
    assert done.code == (2 if any(c["state"] == "failed" for c in checks.values()) else 0)


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (OSError(28, "No space left on device", "x"), 2, "'x': No space left on device; what was finished is kept"),
        (ZeroDivisionError("oh"), 2, "an unexpected error in imgaudit: ZeroDivisionError: oh"),
        (KeyboardInterrupt(), 130, "what was finished is kept; continue with: imgaudit doctor"),
        (OfflineError("no"), 2, "imgaudit: no"),
    ],
    ids=["disk full", "a bug", "ctrl-c", "offline"],
)
def test_no_error_is_shown_as_a_traceback_or_as_a_finding(
    raised: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.setattr("imgaudit.runs.environment.examine", fail)
    monkeypatch.setattr("sys.argv", ["imgaudit", "doctor"])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = unwrap(capsys.readouterr().err)
    assert stop.value.code == code and message in shown and "Traceback" not in shown


def test_a_wrong_choice_is_refused_without_the_words_of_a_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["imgaudit", "audit", "mine", "--model", "demo", "--effort", "quik"])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = unwrap(capsys.readouterr().err)
    assert stop.value.code == 2 and "Invalid value for '--effort': 'quik' is not one of 'quick'," in shown


def test_a_bug_shows_where_it_is_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("imgaudit.runs.environment.examine", fail)
    monkeypatch.setattr("sys.argv", ["imgaudit", "doctor"])
    monkeypatch.setenv("IMGAUDIT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main()
    assert resolve_config({}, start=Path("/"))[0].steps is None


def test_a_bar_shows_outside_names_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "notes", lambda: Console(stderr=True, force_terminal=True, width=100))
    with terminal.progress("reading [/red]\x1b]0;x\x07[bold]") as advance:
        advance(1, 2)
    assert "reading [/red]\\x1b]0;x\\x07[bold]" in capsys.readouterr().err
