"""Prose is wrapped at 80 columns, on a terminal and in a pipe; what is copied or read by programs is not."""

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.no_controls import choose_without_controls
from imgaudit.cli.terminal import WIDTH, print_error, print_wrapped, progress, say, wrap
from imgaudit.models.loading import bundled_lab

LONG = "a word or two, and some more of them, " * 8
DIGEST = "0123456789abcdef" * 4
COMMAND = f"imgaudit audit 'my images' --model demo --controls {'c' * 60} --out run"


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
