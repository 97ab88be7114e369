from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from imgaudit.cli.signatures import Heading, Take, describe, flag, option, takes_records


@dataclass(frozen=True)
class Weather:
    place: Annotated[str, option(Heading.SUBJECT, "Where.", "--place")]
    days: Annotated[int, option(Heading.EXPERT, "How many [1 to 9].")] = 3
    windy: Annotated[bool, flag(Heading.SUBJECT, "With wind.", "--windy")] = False


Loud = Annotated[bool, flag(Heading.OUTPUT, "In capitals.", "--loud")]


def app_of(command: object) -> typer.Typer:
    app = typer.Typer()
    app.command()(takes_records(command))  # type: ignore[arg-type]
    return app


def test_a_record_becomes_options_and_comes_back_filled() -> None:
    seen: list[object] = []

    def forecast(weather: Weather, loud: Loud = False) -> None:
        """Say what comes."""
        seen.append((weather, loud))

    app = app_of(forecast)
    assert CliRunner().invoke(app, ["--place", "here", "--days", "5", "--loud"]).exit_code == 0
    assert seen == [(Weather("here", 5, False), True)]
    assert CliRunner().invoke(app, ["--days", "5"]).exit_code == 2
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120", "TERMINAL_WIDTH": "120"}).output
    places = [text.index(words) for words in ("Say what comes.", "What is audited", "─ Output", "─ Expert")]
    assert places == sorted(places)
    assert "How many [1 to 9]. " in text and "[default: off]" in text


def test_a_command_takes_some_fields_and_the_others_keep_their_defaults() -> None:
    seen: list[Weather] = []

    def forecast(weather: Annotated[Weather, Take(only=("place",), heading=Heading.MODEL)]) -> None:
        seen.append(weather)

    app = app_of(forecast)
    assert CliRunner().invoke(app, ["--place", "here"]).exit_code == 0 and seen == [Weather("here")]
    assert CliRunner().invoke(app, ["--place", "here", "--days", "5"]).exit_code == 2
    assert "─ Model" in CliRunner().invoke(app, ["--help"]).output

    # The heading of the record itself has not changed.
    def whole(weather: Annotated[Weather, Take(without=("days",))]) -> None:
        seen.append(weather)

    assert "─ What is audited" in CliRunner().invoke(app_of(whole), ["--help"]).output


@pytest.mark.parametrize("help", ["[bold]x[/]", "a [/x] b", "c\\[d]"])
def test_brackets_in_help_are_shown_as_they_are(help: str) -> None:
    from rich.text import Text

    assert Text.from_markup(describe(help, "[y]")).plain == f"{help} [default: [y]]"
