"""Tables of prompts, as they are given: plain text, CSV or JSONL, with whatever other columns they have."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgaudit.exceptions import InputError
from imgaudit.io.tables import csv_rows, json_lines, table_text

COLUMN = "prompt"
"""The column that prompts stand in."""

MAX_PROMPTS = 1_000_000
"""Larger tables are refused."""


@dataclass(frozen=True)
class GivenPrompt:
    """A prompt of a table."""

    text: str
    """As it stands there."""
    columns: Mapping[str, Any]
    """The table's other columns."""


def read_prompts(path: Path) -> list[GivenPrompt]:
    """The prompts of a .txt (one per line, blank lines left out), .csv, .jsonl or .ndjson file (column `prompt`).

    Raises InputError for another format, a row without a prompt, or a file without any.
    """
    suffix = path.suffix.lower()
    if suffix not in {".txt", ".csv", ".jsonl", ".ndjson"}:
        raise InputError(
            f"{path.name!r} is no table of prompts: expected a .txt with one prompt per line, or a .csv or .jsonl with "
            f"a column {COLUMN!r}"
        )
    content = table_text(path)
    if suffix == ".txt":
        # Not str.splitlines: form feeds and such are part of a hostile prompt, not the end of it.
        lines = (line.rstrip("\r") for line in content.split("\n"))
        found = [GivenPrompt(line, {}) for line in lines if line.strip()]
    else:
        rows = csv_rows(path.name, content) if suffix == ".csv" else json_lines(path.name, content)
        found = [_given(f"{path.name}, line {number}", row) for number, row in rows]
    if not found:
        raise InputError(f"{path.name!r} has no prompt")
    if len(found) > MAX_PROMPTS:
        raise InputError(f"{path.name!r} has {len(found):,} prompts; at most {MAX_PROMPTS:,} are read")
    return found


def _given(where: str, row: Mapping[str, Any]) -> GivenPrompt:
    text = row.get(COLUMN)
    if not isinstance(text, str):
        raise InputError(
            f"{where}: expected a text in the column {COLUMN!r}, but found "
            + (f"{type(text).__name__}" if COLUMN in row else f"the columns {sorted(map(str, row))[:20]}")
        )
    columns = {key: value for key, value in row.items() if key != COLUMN}
    try:
        json.dumps(columns, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{where}: a column holds NaN or infinity, which JSON does not have; leave it out") from error
    return GivenPrompt(text, columns)
