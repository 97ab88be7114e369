"""The states of a folder's files when a collection got them: by name, size and times."""

import json
from pathlib import Path
from typing import NamedTuple

from imgaudit.exceptions import InputError
from imgaudit.index.image_folders import list_states
from imgaudit.index.manifest import SourceRecord
from imgaudit.index.source_contents import contents_path, has_content, read_contents
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import write_atomically

MAX_STATES_BYTES = 1024 * 1024 * 1024
"""Larger files of states are not read; ten million files fit."""

NAMED = 3
"""Files of each kind that a message names."""


class Changes(NamedTuple):
    """Files of a folder that are not what they were when a collection got them."""

    replaced: list[str]
    """Names of files with another content, or with one that was not kept."""
    gone: list[str]
    """Names of files that are no longer there."""
    new: list[str]
    """Names of files that were not there."""

    def __str__(self) -> str:
        words = [
            f"{len(names):,} {kind}: {', '.join(map(repr, names[:NAMED]))}{', ...' if len(names) > NAMED else ''}"
            for kind, names in zip(self._fields, self, strict=True)
            if names
        ]
        return "; ".join(words)


def keep_states(source: Path, states: Path, digest: str) -> None:
    """Write the state of every file of a folder into `states`, under the digest that the manifest has of it."""
    path = states / f"{digest}.jsonl"
    if not path.exists():
        states.mkdir(exist_ok=True)
        write_atomically(path, "".join(f"{line}\n" for _, line in list_states(source)))


def find_changes(known: SourceRecord, states: Path) -> Changes | None:
    """Return which files of a folder are new, gone or replaced; None where the states were not kept.

    A file with another size or other times is read: with the content that the collection read it is the same file. A
    file that a build has not come to before it was stopped may be replaced.

    known:   the folder, as the collection has it
    states:  the collection's folder for states
    """
    try:
        path = states / f"{known.state}.jsonl"
        lines = read_bounded(path, MAX_STATES_BYTES, follow_links=False).decode("utf-8").splitlines()
        before = {name: state for name, *state in map(json.loads, lines)}
    except (InputError, ValueError, TypeError):
        return None
    contents = read_contents(contents_path(states, known.state))
    changes, seen = Changes([], [], []), set()
    for place, (file, line) in enumerate(list_states(Path(known.path))):
        name, *state = json.loads(line)
        seen.add(name)
        if name not in before:
            changes.new.append(name)
        elif state[: len(before[name])] != before[name]:  # Older versions kept one time.
            waiting = place >= known.done and bool(contents) and name not in contents
            if not waiting and not has_content(file, contents.get(name)):
                changes.replaced.append(name)
    changes.gone.extend(name for name in before if name not in seen)
    return changes
