"""An audit without controls is asked for, not stumbled into."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from imgaudit import audit, load_model, read_portfolio
from imgaudit.cli import app
from imgaudit.cli import no_controls as choice
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.exceptions import ImgauditError, InputError
from imgaudit.schema.config import AuditConfig
from tests.support.wrapping import unwrap

FAST = ["--steps", "1", "--draws", "1", "--seeds", "1", "--num-inference-steps", "1", "--device", "cpu", "-q"]


@pytest.fixture
def command(model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path) -> list[str]:
    targets = str(make_folder("portfolio", range(11)))
    return ["audit", targets, "--model", str(model_folder), "--out", str(tmp_path / "run"), *FAST]


def config_of(run: Path) -> dict[str, object]:
    return json.loads((run / "manifest.json").read_text(encoding="utf-8"))["config"]["no_controls"]  # type: ignore[no-any-return]


def test_where_nobody_can_be_asked_the_audit_is_refused(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, InputError)
    for part in ("--controls FOLDER", "--calibration BANK", "--no-controls", "inconclusive"):
        assert part in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_few_images_are_audited_with_a_note(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    command = ["audit", str(make_folder("few", range(2))), "--model", str(model_folder), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*command, *FAST])
    assert done.exit_code == 3 and "note: no controls were given" in unwrap(done.stderr)
    assert config_of(tmp_path / "run") == {"value": True, "source": "an audit of no more than 10 images"}


def test_the_option_is_recorded_and_the_run_is_continued_without_it(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*command, "--no-controls"])
    assert done.exit_code == 3, done.output
    assert config_of(tmp_path / "run") == {"value": True, "source": "command line"}
    assert CliRunner().invoke(app, command).exit_code == 3


def test_controls_that_are_given_and_declined_are_refused(
    command: list[str], make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    bank = tmp_path / "bank.json"
    bank.write_text("{}")
    for option, given in (("--controls", make_folder("controls", [7])), ("--calibration", bank)):
        done = CliRunner().invoke(app, [*command, "--no-controls", option, str(given)])
        assert isinstance(done.exception, InputError) and "give only one" in str(done.exception)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "calibration.json").write_text("{}")
    config = AuditConfig(no_controls=True)
    with pytest.raises(InputError, match="begun with controls"):
        choice.lacks_choice(config, "environment", tmp_path / "run", given=False)
    assert not choice.lacks_choice(AuditConfig(), "default", tmp_path / "run", given=False)


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_asks_and_says_how_long_it_takes(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(choice, "require_terminal", lambda: None)
    done = CliRunner().invoke(app, command, input=f"{answer}\n")
    assert "will be inconclusive" in unwrap(done.stderr) and "Auditing 11 images takes about" in " ".join(
        done.stderr.split()
    )
    if answer == "y":
        assert done.exit_code == 3, done.output
        assert config_of(tmp_path / "run") == {"value": True, "source": "asked on the terminal"}
    else:
        assert isinstance(done.exception, InputError) and "nothing was audited" in str(done.exception)
        assert not (tmp_path / "run").exists()


def test_both_ends_have_to_be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin, stderr in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr("sys.stdin.isatty", lambda it=stdin: it, raising=False)
        monkeypatch.setattr("sys.stderr.isatty", lambda it=stderr: it, raising=False)
        if stdin and stderr:
            choice.require_terminal()
        else:
            with pytest.raises(ImgauditError, match="no controls were given"):
                choice.require_terminal()


def test_a_dry_run_only_says_it(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--dry-run"])
    shown = unwrap(done.stdout)
    assert done.exit_code == 0 and "No controls were given: without controls, every image" in shown
    declined = CliRunner().invoke(app, [*command, "--dry-run", "--no-controls"])
    assert declined.exit_code == 0 and "No controls were given" not in declined.stdout


def test_a_call_from_python_goes_ahead_but_not_both_ways(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    portfolio = read_portfolio(make_folder("portfolio", [1]))
    with pytest.raises(InputError, match="give only one"):
        audit(
            load_model(str(model_folder), "cpu"), portfolio, out=tmp_path / "run", controls=portfolio,
            config=AuditConfig(no_controls=True),
        )  # fmt: skip
    with pytest.raises(InputError, match="every control is an image to audit"):
        audit(load_model(str(model_folder), "cpu"), portfolio, out=tmp_path / "run", controls=portfolio)


def test_a_finished_run_given_again_has_nothing_to_do_and_loads_no_model(
    command: list[str], make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*command, "--no-controls", "--log-file", str(tmp_path / "log.jsonl")]
    given.remove("-q")
    first = CliRunner().invoke(app, given)
    assert first.exit_code == 3 and "nothing to do" not in first.stderr, first.output
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [one["event"] for one in events].count("image") == 11 == [one["event"] for one in events].count("finding")
    steps = [one["step"] for one in events if one["event"] == "step"]
    assert (
        steps[:3] == ["checking the model", "encoding", "searching for an embedding"] and "generating images" in steps
    )
    assert events[0]["event"] == "begin" and events[-1] | {"time": 0, "seconds": 0} == {
        "time": 0, "event": "end", "exit_code": 3, "seconds": 0,
    }  # fmt: skip
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    loaded: list[object] = []
    monkeypatch.setattr(ModelChoice, "load", lambda self, device=None: loaded.append(self))
    again = CliRunner().invoke(app, given)
    assert again.exit_code == 3 and "nothing to do" in again.stderr and again.stdout == first.stdout
    assert not loaded and before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    CliRunner().invoke(app, [*given, "--seed", "5"])
    assert len(loaded) == 1, "another seed is another audit, which the run refuses itself"
    CliRunner().invoke(app, [*given[:1], str(make_folder("other", range(12))), *given[2:]])
    assert len(loaded) == 2


def test_a_dry_run_is_readable_and_warns_of_targets_as_controls(
    command: list[str], make_folder: Callable[..., Path]
) -> None:
    controls = make_folder("controls", range(9, 14))
    done = CliRunner().invoke(app, [*command, "--dry-run", "--controls", str(controls)])
    warned = unwrap(done.stderr)
    assert done.exit_code == 0 and "2 of 5 controls are images to audit (2 the same files, 0 near copies)" in warned
    assert "they will not count, and 3 are left" in warned and "3 controls would count" in unwrap(done.stdout)
    assert "{" not in done.stdout and max(map(len, done.stdout.splitlines())) <= 80, done.stdout
    shown = unwrap(done.stdout)
    assert re.search("Time: about [0-9a-z ]+ for 11 images to audit and 5 controls, on cpu", shown), shown


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=" ".join)
def test_controls_that_are_all_targets_are_refused_before_the_model_loads(
    command: list[str], make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    more: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(ModelChoice, "load", lambda self, device=None: pytest.fail("the model was loaded"))
    controls = make_folder("controls", range(3))
    for path in make_folder("copies", [3]).glob("*.png"):
        Image.open(path).resize((97, 97)).save(controls / "smaller.png")
    done = CliRunner().invoke(app, [*command, *more, "--controls", str(controls)])
    assert isinstance(done.exception, InputError)
    assert "every control is an image to audit (3 the same files, 1 near copy)" in str(done.exception)
    assert "Controls have to be other images" in str(done.exception) and not (tmp_path / "run").exists()
