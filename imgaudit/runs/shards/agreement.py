"""Whether the parts that were given are all parts of one audit: each once, and begun with the same of everything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from imgaudit.exceptions import RunFolderError
from imgaudit.runs.departures import compare_images
from imgaudit.runs.shards.reading import SHOWN, Part
from imgaudit.schema.manifest import AuditManifest

SAME_FILES = {"calibration.json": "null bank", "seal.json": "seal"}
"""Files that all parts have with the same bytes, or none has."""


def require_one_audit(parts: Sequence[Part]) -> None:
    """Refuse parts that are not all parts of one audit.

    Raises RunFolderError that names the parts which are missing, given twice, or begun with something else.
    """
    first = parts[0]
    for other in parts[1:]:
        if found := list(islice(find_differences(first, other), SHOWN)):
            raise RunFolderError(f"{other.name} is not of the same audit as {first.name}: {'; '.join(found)}")
    times = Counter(part.shard.number for part in parts)
    for number, count in sorted(times.items()):
        if count > 1:
            folders = ", ".join(repr(str(part.folder.path)) for part in parts if part.shard.number == number)
            raise RunFolderError(f"shard {number} was given {count} times ({folders}): give it once")
    if missing := [number for number in range(1, first.shard.count + 1) if number not in times]:
        named = ", ".join(map(str, missing[:SHOWN])) + (" and others" if len(missing) > SHOWN else "")
        raise RunFolderError(
            f"{len(missing)} of {first.shard.count} shards are missing: {named}. No verdict is final without them, as "
            "every q-value depends on all images"
        )


def find_differences(first: Part, other: Part) -> Iterator[str]:
    """Yield what keeps two parts from being parts of one audit, in words."""
    one, two = first.manifest, other.manifest
    if first.shard.count != other.shard.count:
        yield f"{other.shard.count} shards, there {first.shard.count}"
    if one.chunk_size != two.chunk_size:
        yield f"chunk size {two.chunk_size}, there {one.chunk_size}"
    yield from one.model_copy(update={"shard": None}).differences(two.model_copy(update={"shard": None}))
    for name in ("dtype", "variant", "quantised", "compiled", "mitigation", "resolution", "pipeline_class"):
        here, there = getattr(two.model, name), getattr(one.model, name)
        if here != there:
            yield f"model {name.replace('_', ' ')} {here or 'none'!s:.80}, there {there or 'none'!s:.80}"
    if (here := two.versions.get("imgaudit")) != (there := one.versions.get("imgaudit")):
        yield f"imgaudit {here}, there {there}"
    yield from compare_images("image", one.targets, two.targets)
    yield from _compare_lists(one, two)
    for file, what in SAME_FILES.items():
        if _digest(first, file) != _digest(other, file):
            yield f"another {what}, or only one of the two has one"
    if ("reference.json" in first.files) != ("reference.json" in other.files):
        yield "only one of the two was looked up in a collection (--reference)"


def find_machine_notes(parts: Sequence[Part]) -> Iterator[str]:
    """Yield where parts ran on other machines or packages than the first, which can change the last digits."""
    first = parts[0].manifest
    for part in parts[1:]:
        now = part.manifest
        changes = [
            f"{name} {now.versions.get(name, 'not installed')}"
            for name in sorted(first.versions.keys() | now.versions.keys())
            if first.versions.get(name) != now.versions.get(name)
        ]
        changes += [
            f"{name.replace('_', ' ')} {getattr(now, name)!s:.80}"
            for name in ("device", "threads", "platform", "batch_size")
            if getattr(first, name) != getattr(now, name)
        ]
        if changes:
            yield f"{part.shard} was measured with other conditions than {parts[0].shard}: {', '.join(changes)}"


def _compare_lists(one: AuditManifest, two: AuditManifest) -> Iterator[str]:
    """Yield where two parts call images by other names, could not read other files, or tell works in another way."""
    paths = {target.sha256: target.path for target in one.targets}
    for target in two.targets:
        if paths.get(target.sha256, target.path) != target.path:
            yield (
                f"{target.path!r:.200} is called {paths[target.sha256]!r:.200} there: give all shards the images in a "
                "folder of the same name and place"
            )
            break
    if {(file.path, file.skipped) for file in one.skipped} != {(file.path, file.skipped) for file in two.skipped}:
        yield "other files could not be read"
    if sorted(map(sorted, one.groups)) != sorted(map(sorted, two.groups)):
        yield "images are grouped as works in another way"


def _digest(part: Part, name: str) -> str:
    return part.files[name].sha256 if name in part.files else ""
