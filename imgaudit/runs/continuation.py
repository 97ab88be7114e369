"""The commands that continued a run of an older version, which kept no history."""

import json
from itertools import islice
from typing import Any

from imgaudit.io.writing import split_lines
from imgaudit.runs.folder import RunFolder

MOST_COMMANDS = 1000
"""Commands that are read; a run that was continued more often shows the first ones."""


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
