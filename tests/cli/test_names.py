"""Tables fit the terminal, and names are shortened in the middle."""

import io

import pytest
from rich.console import Console

from imgaudit.cli.index import _match_name
from imgaudit.cli.names import Name, OneLine, shorten_middle
from imgaudit.cli.terminal import make_table
from imgaudit.index import Match


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(
    "name", ["a.png", "IMG_" + "long_" * 30 + "end.jpg", "桜の木" * 20 + ".png", "/folder/with/x.png"]
)
def test_a_name_takes_one_line(name: str, width: int) -> None:
    out = io.StringIO()
    table = make_table("verdict", "image", "deciding q", "copies", whole=("verdict",))
    table.add_row("replicated_by_inversion", Name(name), "0.00417", "embedding 32/32 [89%, 100%]")
    Console(file=out, width=width, legacy_windows=False).print(table)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert sum(name.rsplit(".")[-1] in line for line in lines) == 1, out.getvalue()


def test_what_is_short_enough_stays() -> None:
    assert shorten_middle("a.png", 5) == "a.png"
    assert len(shorten_middle("x" * 90, 31)) == 31


def test_prompts_take_one_line_and_matches_fit() -> None:
    out = io.StringIO()
    table = make_table("number", "score", "RMS", "p", "q", "heaviest words", "prompt")
    for prompt in ("a short one", "a red fox in the snow beside a river " * 8 + "at dusk"):
        table.add_row("3", "0.5568", "0.02021", "0.001", "0.05", OneLine("notice, ground, attention"), OneLine(prompt))
    Console(file=out, width=80, legacy_windows=False).print(table)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 80 and "..." in lines[2]
    long = Match("imgs/" + "long-" * 30 + "end.png", "/mine/imgs/" + "long-" * 30 + "end.png", 0.5)
    assert len(_match_name(long, 69)) == 69 and _match_name(long, 69).endswith("end.png")
    assert _match_name(Match("a.png", "/mine/a.png", 0.5), 69) == "a.png  /mine/a.png"
