"""Names of files in tables: shortened in the middle to the room that there is, never broken across lines."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from imgaudit.schema.text import file_name, printable

LEAST_WIDTH = 12
"""A column of names is not made narrower than this."""


def shorten_middle(text: str, width: int) -> str:
    """Return a text that is at most so wide: its beginning and its end say more than its middle.

    >>> shorten_middle("IMG_20240131_sunset_over_the_bay.jpg", 20)
    'IMG_20240..._bay.jpg'
    """
    if len(text) <= width or width < 5:
        return text[:width]
    kept = width - 3
    return text[: (kept + 1) // 2] + "..." + text[len(text) - kept // 2 :]


class OneLine:
    """A text from outside, such as a prompt, as a cell of a table that takes one line."""

    def __init__(self, text: str) -> None:
        self._text = printable(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, width = self._text, options.max_width
        while Text(shown).cell_len > options.max_width and width > 0:
            # Some letters are two cells wide.
            shown, width = shorten_middle(self._text, width), width - 1
        yield Text(shown, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        wide = Text(self._text).cell_len
        return Measurement(min(wide, LEAST_WIDTH), wide)


class Name(OneLine):
    """The last part of a path, as a cell of a table."""

    def __init__(self, path: str) -> None:
        super().__init__(file_name(path))
