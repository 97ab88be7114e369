"""Data that pages read as scripts: from disk they can read nothing else. Values alone, which can be checked."""

import json
from typing import Any

LABELS = ("window.imgauditLabels = ", ";\n")
"""Script text before and behind the wording of verdicts."""

ROWS = ("(window.imgauditRows ??= []).push(...", ");\n")
"""Script text before and behind a list of rows."""


def data_script(frame: tuple[str, str], value: Any) -> str:
    """Return a script that does nothing but hand a value over.

    >>> data_script(LABELS, {"a": "<b>"})
    'window.imgauditLabels = {"a": "\\\\u003cb\\\\u003e"};\\n'
    """
    before, behind = frame
    content = json.dumps(value, allow_nan=False)
    for character in "<>&'":
        content = content.replace(character, f"\\u{ord(character):04x}")
    return f"{before}{content}{behind}"


def is_data_script(content: bytes) -> bool:
    """Return whether a script only hands a value over: its frame must hold one JSON value, in ASCII.

    >>> is_data_script(data_script(ROWS, [1]).encode()), is_data_script(b"window.imgauditLabels = alert(1);\\n")
    (True, False)
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return False
    for before, behind in (LABELS, ROWS):
        if text.startswith(before) and text.endswith(behind):
            try:
                value = json.loads(text[len(before) : -len(behind)])
            except (ValueError, RecursionError):
                return False
            return isinstance(value, dict if before == LABELS[0] else list)
    return False
