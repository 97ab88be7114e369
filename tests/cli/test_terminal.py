"""Prose is wrapped at 80 columns, on a terminal and in a pipe; what is copied or read by programs is not."""

import io
import re
import sys
import time

import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.no_controls import choose_without_controls
from imgaudit.cli.pace import Activity
from imgaudit.cli.terminal import WIDTH, _Doing, print_error, print_wrapped, progress, say, wrap
from imgaudit.models.loading import bundled_lab

LONG = "a word or two, and some more of them, " * 8
DIGEST = "0123456789abcdef" * 4
COMMAND = f"imgaudit audit 'my images' --model demo --controls {'c' * 60} --out run"


class _Screen(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def _is_narrow(text: str) -> bool:
    """Tell whether every line fits, besides those that are one word, such as a digest."""
    return all(len(line) <= WIDTH or len(line.split()) == 1 for line in text.splitlines())


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_prose_is_as_wide_anywhere(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    say(LONG)
    print_error(LONG)
    print_wrapped(LONG)
    shown = capsys.readouterr()
    assert _is_narrow(shown.out) and _is_narrow(shown.err) and shown.err.startswith("a word")
    assert len(shown.out.splitlines()) == 4 and shown.out.splitlines()[1].startswith("  ")
    assert "imgaudit: a word" in shown.err


def test_what_is_copied_stays_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    say("head of the evidence, to be noted elsewhere:", DIGEST)
    print_error("stopped after 4 min 0 s; continue with:", COMMAND)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "head of the evidence, to be noted elsewhere:", f"  {DIGEST}",
        "imgaudit: stopped after 4 min 0 s; continue with:", f"  {COMMAND}",
    ]  # fmt: skip
    assert wrap("report:", "run/report/index.html") == "report: run/report/index.html"
    assert wrap("", "curl a b") == "  curl a b"


def test_control_characters_are_escaped_and_break_no_line() -> None:
    assert wrap("a\x1b[31m\nb", "c\nd") == "a\\x1b[31m\\nb c\\nd"


def test_the_end_of_work_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("auditing") as advance:
        for done in (0, 4, 8, 8):
            advance(done, 8)
    said = capsys.readouterr().err
    assert said.count("8 of 8") == 1 and "finished" in said and _is_narrow(said)
    with progress("looking up") as advance:
        advance(3, 3)
    assert capsys.readouterr().err.count("3 of 3") == 1, "all of it was done before"


def test_notes_stand_above_a_bar_and_not_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = _Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress("auditing") as advance:
        advance(0, 8)
        time.sleep(0.2)  # until the bar is drawn
        say("a note")
        print_error("an error")
    say("the end")
    for words in ("a note", "imgaudit:"):
        before = screen.getvalue().partition(words)[0]
        assert re.search(r"(\r\x1b\[2K|\n)(\x1b\[[0-9;]*m)*$", before), before[-80:]
    assert screen.getvalue().endswith("the end\n")


@pytest.mark.parametrize("stage", ["auditing", "measuring controls"])
@pytest.mark.parametrize(
    "step", ["searching for an embedding", "searching among texts", "comparing generated images", "checking the model"]
)
def test_a_step_is_named_in_full_beside_its_bar(stage: str, step: str) -> None:
    activity = Activity()
    activity.begin(step, [])
    bars = Progress()
    bars.add_task(stage, activity=activity)
    assert _Doing().render(bars.tasks[0]).plain in (f"{stage}: {step}", f"controls: {step}")


def test_notes_and_refusals_fit(capsys: pytest.CaptureFixture[str]) -> None:
    choose_without_controls(1, lambda: "a minute")
    assert _is_narrow(capsys.readouterr().err)


@pytest.mark.parametrize("command", [["doctor"], ["lab", "describe", "demo"], ["mitigate", "list"]], ids=" ".join)
def test_tables_of_commands_fit(command: list[str]) -> None:
    done = CliRunner().invoke(app, command)
    assert done.exit_code in (0, 2) and done.stdout and _is_narrow(done.stdout), done.stdout


def test_a_null_bank_is_described_in_80_columns() -> None:
    done = CliRunner().invoke(app, ["bank", "info", str(bundled_lab("demo") / "calibration.json")])
    assert done.exit_code == 0 and _is_narrow(done.stdout), done.stdout
