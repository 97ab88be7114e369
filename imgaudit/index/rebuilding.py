"""The command that builds a collection anew, for messages that refuse the old one."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from imgaudit.index.manifest import CollectionManifest
from imgaudit.index.sources import VECTOR_FILES, SourceInput, source_path
from imgaudit.io.reading import format_path


def advise_rebuilding(folder: Path, manifest: CollectionManifest, given: Sequence[SourceInput]) -> str:
    """Return what to do about a collection whose sources have changed: one command, where one can build it anew.

    given:  sources that were just named; those that the collection lacks are built as well
    """
    command = _rebuild_command(folder, manifest, given)
    if not command:
        return "Build a new collection in another folder, with the same sources and options"
    return f"To build a new one from what is there now: {shlex.join(command)}"


def _rebuild_command(folder: Path, manifest: CollectionManifest, given: Sequence[SourceInput]) -> list[str]:
    """Return the command; empty where the sources were added with options that one command cannot give."""
    known = {source.path for source in manifest.sources}
    sources = [source for source in manifest.sources if Path(source.path).exists()]
    lists = [source for source in sources if source.kind in ("npy", "faiss")]
    if any(source.id_list for source in lists) and not all(source.id_list for source in lists):
        return []
    options = []
    for name, values in (
        ("--vector-column", {source.vector_column for source in sources if source.kind == "parquet"}),
        ("--id-column", {source.id_column for source in sources if source.kind == "parquet"}),
    ):
        if len(values) > 1:
            return []
        options += [part for value in values if value for part in (name, value)]
    options += [part for source in lists if source.id_list for part in ("--ids", source.id_list)]
    if manifest.wanted:
        options += ["--kind", manifest.wanted.value]
    new = [source_path(one) for one in given if source_path(one) not in known]
    if any(Path(one).suffix.lower() in VECTOR_FILES for one in new):
        return []
    return [
        "imgaudit", "index", "build", format_path(_free_folder(folder)), *(source.path for source in sources), *new,
        "--descriptor", manifest.descriptor.name, *options,
    ]  # fmt: skip


def _free_folder(folder: Path) -> Path:
    """Return a folder beside the collection that does not exist yet."""
    number = 2
    while (free := folder.with_name(f"{folder.resolve().name}-{number}")).exists():
        number += 1
    return free
