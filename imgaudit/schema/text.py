"""Text as it is shown: names without folders, no invisible characters, lines that a terminal holds."""

import textwrap

WIDTH = 80
"""Columns of prose, on a terminal and in a pipe."""


def file_name(path: str) -> str:
    r"""Return the last part of a path of any operating system.

    >>> file_name("/home/ann/a.png"), file_name("C:\\art\\a.png")
    ('a.png', 'a.png')
    """
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def as_sentence(text: str) -> str:
    """Return a remark as a sentence: with a capital letter and a full stop.

    >>> as_sentence("4 controls are too few"), as_sentence("captions differ: give others.")
    ('4 controls are too few.', 'Captions differ: give others.')
    """
    ended = text.rstrip()
    return ended[:1].upper() + ended[1:] + ("" if not ended or ended.endswith((".", "?", "!")) else ".")


def printable(text: str) -> str:
    r"""Write control and direction characters as escapes, so that a name cannot look like another one.

    >>> print(printable("a\u202eb\n"))
    a\u202eb\n
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def wrap_prose(text: str, indent: str = "  ", width: int = WIDTH) -> list[str]:
    """Return the lines of a sentence, cut between words only; further lines are indented.

    >>> wrap_prose("8 of 9 images", width=9)
    ['8 of 9', '  images']
    """
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
