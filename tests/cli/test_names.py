"""Tables fit the terminal, and names are shortened in the middle."""

import io

import pytest
from rich.console import Console

from imgaudit.cli.names import Name, shorten_middle
from imgaudit.cli.terminal import make_table


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(
    "name", ["a.png", "IMG_" + "long_" * 30 + "end.jpg", "桜の木" * 20 + ".png", "/folder/with/x.png"]
)
def test_a_name_takes_one_line(name: str, width: int) -> None:
    out = io.StringIO()
    table = make_table("verdict", "image", "corrected p", "copies", whole=("verdict",))
    table.add_row("replicated_by_inversion", Name(name), "0.00417", "embedding 32/32 [89%, 100%]")
    Console(file=out, width=width, legacy_windows=False).print(table)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert sum(name.rsplit(".")[-1] in line for line in lines) == 1, out.getvalue()


def test_what_is_short_enough_stays() -> None:
    assert shorten_middle("a.png", 5) == "a.png"
    assert len(shorten_middle("x" * 90, 31)) == 31
