"""The commands that continued a run after the one in its manifest, which is written once and names the run."""

import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

from imgaudit.io.provenance import utc_now
from imgaudit.io.reading import format_path
from imgaudit.io.writing import append_lines, split_lines
from imgaudit.runs.folder import RunFolder

MOST_COMMANDS = 1000
"""Commands that are read; a run that was continued more often shows the first ones."""


def record_command(run: RunFolder, command: Sequence[str]) -> None:
    """Note that a command works on a run that is there, before it changes anything."""
    append_lines(run.continued_path, [{"time": utc_now(), "command": [format_path(part) for part in command]}])


def read_commands(run: RunFolder) -> list[dict[str, Any]]:
    """Return the commands that continued a run, oldest first, each with its UTC time; damaged lines are left out."""
    found = []
    for line in islice(split_lines(run.continued_path), MOST_COMMANDS):
        try:
            one = json.loads(line)
            found.append({"time": str(one["time"]), "command": [str(part) for part in one["command"]]})
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found
