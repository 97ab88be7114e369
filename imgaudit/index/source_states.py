"""The states of a folder's files when a collection got them: by name, size and time of change."""

import json
from pathlib import Path

from imgaudit.exceptions import InputError
from imgaudit.index.image_folders import list_states
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import write_atomically

MAX_STATES_BYTES = 1024 * 1024 * 1024
"""Larger files of states are not read; ten million files fit."""

NAMED = 3
"""Files of each kind that a message names."""


def keep_states(source: Path, states: Path, digest: str) -> None:
    """Write the state of every file of a folder into `states`, under the digest that the manifest has of it."""
    path = states / f"{digest}.jsonl"
    if not path.exists():
        states.mkdir(exist_ok=True)
        write_atomically(path, "".join(f"{line}\n" for line in list_states(source)))


def name_changes(source: Path, path: Path) -> str:
    """Return in brackets which files of a folder are new, gone or replaced; empty where the states were not kept."""
    try:
        lines = read_bounded(path, MAX_STATES_BYTES, follow_links=False).decode("utf-8").splitlines()
        before = {name: state for name, *state in map(json.loads, lines)}
    except (InputError, ValueError, TypeError):
        return ""
    now = {name: state for name, *state in map(json.loads, list_states(source))}
    found = (
        ("replaced", [name for name, state in now.items() if name in before and before[name] != state]),
        ("gone", [name for name in before if name not in now]),
        ("new", [name for name in now if name not in before]),
    )
    words = [
        f"{len(names):,} {kind}: {', '.join(map(repr, names[:NAMED]))}{', ...' if len(names) > NAMED else ''}"
        for kind, names in found
        if names
    ]
    return f" ({'; '.join(words)})" if words else ""
