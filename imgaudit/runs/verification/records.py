"""records.jsonl against manifest.json and the files of the run: one record per image, and nothing that is extra."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isclose

from imgaudit.diffusion.generation import draw_replica_seeds
from imgaudit.diffusion.measurement import name_replica
from imgaudit.exceptions import RunFolderError
from imgaudit.io.portfolio import hash_texts
from imgaudit.io.reading import open_regular
from imgaudit.io.writing import MAX_LINE_BYTES, read_json, split_lines
from imgaudit.runs.folder import RunFolder, parse_record
from imgaudit.runs.inventory import Inventory
from imgaudit.runs.verification.funnel import funnel_check
from imgaudit.schema.manifest import AuditManifest, KnownTarget
from imgaudit.schema.records import (
    ErrorMeasurement,
    Measurement,
    NotAsked,
    Rung,
    RungMeasurement,
    Skipped,
    SkippedImage,
)
from imgaudit.schema.verification import Check

ORIGINALS = (
    "whether the pictures show the owner's files: a SHA-256 in manifest.json is of the file itself, which the run does "
    "not hold; hash the file to compare"
)

TIMES = {"seconds", "network_evaluations"}
"""Fields of a record that differ when an image is measured again."""


NOT_GIVEN = "was given"
"""End of the reason that a rung was left out because the image has no text for it."""

MEAN_TOLERANCE = 1e-4
"""Share by which a mean may differ from the mean of its parts: both were summed in single precision."""


@dataclass
class _Lines:
    """What the lines of records.jsonl are, without the records themselves: those of a large run fill the memory."""

    places: dict[str, int] = field(default_factory=dict)
    """Where the last record of each image begins, which counts."""
    skipped: dict[str, None] = field(default_factory=dict)
    """Paths of files that were not measured, in order."""
    cut: int = 0
    """Lines that a kill cut."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with lines, in words."""


@dataclass
class _Problems:
    """What is wrong with measured images, in the order in which it is told."""

    of_manifest: list[str] = field(default_factory=list)
    of_records: list[str] = field(default_factory=list)
    of_funnel: list[str] = field(default_factory=list)


def check_records(run: RunFolder, manifest: AuditManifest, inventory: Inventory) -> Check:
    """Compare the records with the manifest and with the files of the run; one record is in memory at a time.

    Raises RunFolderError when records.jsonl cannot be opened.
    """
    lines, found, find_contradiction = _read_lines(run), _Problems(), funnel_check(run, manifest)
    targets = {target.sha256: target for target in manifest.targets}
    named, missing, known = bytearray(len(inventory.files)), set[str](), set[str]()
    for record in _read_measured(run, lines):
        known.add(record.sha256)
        found.of_manifest += _compare_with_target(record, targets.get(record.sha256))
        found.of_records += _check_record(run, record, manifest)
        if wrong := find_contradiction(record):
            found.of_funnel.append(f"the image {record.path!r:.200} {wrong}")
        for ladder in record.rungs.values():
            for replica in ladder.replicas if isinstance(ladder, RungMeasurement) else ():
                if (place := inventory.files.place(replica.path)) is None:
                    missing.add(replica.path)
                else:
                    named[place] = True
    problems = [
        *lines.problems,
        *(["'manifest.json' lists an image twice"] if len(targets) < len(manifest.targets) else []),
        *found.of_manifest,
        *_compare_with_manifest(lines, known, manifest),
        *_compare_with_files(lines, inventory, missing, named),
        *found.of_records,
        *found.of_funnel,
    ]
    done = f"{len(lines.places)} records were compared with the images in manifest.json and with the run's files"
    if lines.cut:
        done += f"; {lines.cut} {'line was' if lines.cut == 1 else 'lines were'} cut when the audit was killed"
    return Check(name="records", done=done, not_done=(ORIGINALS,), problems=tuple(problems))


def _read_lines(run: RunFolder) -> _Lines:
    found, place = _Lines(), 0
    for number, line in enumerate(split_lines(run.records_path), start=1):
        start, place = place, place + len(line)
        if not line.strip():
            continue
        record = parse_record(line)
        if record is None:
            if _is_cut(line):
                found.cut += 1
            else:
                found.problems.append(f"line {number} of 'records.jsonl' is damaged: it does not match its checksum")
        elif isinstance(record, SkippedImage):
            found.skipped[record.path] = None
        else:
            before = found.places.get(record.id)
            if before is not None and _said(_read_at(run, before)) != _said(record):
                found.problems.append(
                    f"line {number} of 'records.jsonl' is another record of {record.id!r:.40}, and says something else"
                )
            found.places[record.id] = start
    return found


def _read_measured(run: RunFolder, lines: _Lines) -> Iterator[Measurement]:
    return (_read_at(run, place) for place in lines.places.values())


def _read_at(run: RunFolder, place: int) -> Measurement:
    """Return the record that begins at a place where there was one. Raises RunFolderError when the file was changed."""
    with open_regular(run.records_path) as file:
        file.seek(place)
        record = parse_record(file.readline(MAX_LINE_BYTES))
    if not isinstance(record, Measurement):
        raise RunFolderError(f"{str(run.records_path)!r} was changed while it was read: verify the run again")
    return record


def _is_cut(line: bytes) -> bool:
    """Return whether a line is the beginning of a record, as a kill leaves it: no JSON to the end."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(b'{"stage": ')
    return False


def _said(record: Measurement) -> dict[str, object]:
    return record.model_dump(mode="json", exclude=TIMES)


def _compare_with_target(record: Measurement, target: KnownTarget | None) -> Iterator[str]:
    """Yield where a record differs from what manifest.json says of its image; None where it lists no such image."""
    if target is None:
        yield f"'records.jsonl' has a record of {record.path!r:.200}, which manifest.json does not list"
    elif record.path != target.path:
        yield f"'records.jsonl' calls {record.path!r:.200} what 'manifest.json' calls {target.path!r:.200}"
    elif not _has_texts(record, target.texts_sha256):
        yield f"'records.jsonl' has other texts of {target.path!r:.200} than 'manifest.json' has a digest of"


def _compare_with_manifest(lines: _Lines, known: set[str], manifest: AuditManifest) -> Iterator[str]:
    """Yield which images lack a record, and which skipped files do not agree.

    known:  SHA-256 of every image that has a record
    """
    paths = {target.path for target in manifest.targets} | {one.path for one in manifest.skipped}
    missing = [one.path for one in manifest.targets if one.sha256 not in known and one.path not in lines.skipped]
    if missing:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        yield (
            f"'records.jsonl' has no record of {missing[0]!r:.200}{more}, which manifest.json lists: removed, or the "
            "audit was stopped before it reached them; if it was stopped, give its command again to finish it"
        )
    for path in lines.skipped:
        if path not in paths:
            yield f"'records.jsonl' skips {path!r:.200}, which manifest.json does not list"
    for one in manifest.skipped:
        if one.path not in lines.skipped:
            yield f"'records.jsonl' does not skip {one.path!r:.200}, which could not be read according to manifest.json"


def _has_texts(record: Measurement, sha256: str) -> bool:
    """Return whether the prompts and the caption of a record are those in the manifest.

    A rung that the protocol leaves out has texts that no record names: nothing is compared then.
    """
    asked = {rung: record.rungs.get(rung) for rung in (Rung.PROMPT, Rung.CAPTION)}
    known = [one for one in asked.values() if isinstance(one, RungMeasurement | NotAsked) or _without_text(one)]
    texts = {rung: one.texts for rung, one in asked.items() if isinstance(one, RungMeasurement | NotAsked)}
    return len(known) < len(asked) or hash_texts(texts) == sha256


def _without_text(rung: RungMeasurement | Skipped | None) -> bool:
    return isinstance(rung, Skipped) and rung.skipped.endswith(NOT_GIVEN)


def _compare_with_files(lines: _Lines, inventory: Inventory, missing: set[str], named: bytearray) -> Iterator[str]:
    """Yield files that no record names, and files that are missing.

    missing:  generated images that are named and not there
    named:    for every file of the inventory, whether a record names it as a generated image
    """
    folders = {parts[1] for name in inventory.files if len(parts := name.split("/", 2)) > 1 and parts[0] == "images"}
    for name in sorted(folders - lines.places.keys()):
        yield f"'images/{name:.100}' is of no record: it was put there, or its record was removed"
    for name in sorted(missing):
        yield f"{name!r:.200} is missing: a record names it"
    for name, known in zip(inventory.files, named, strict=True):
        if not known and name.startswith("images/") and "replicas" in name.split("/"):
            yield f"{name!r:.200} is named by no record"
    for image in lines.places:
        for file in ("target.png", "rendered.png", "curves.json", "embeds.safetensors"):
            if f"images/{image}/{file}" not in inventory.files:
                yield f"'images/{image:.40}/{file}' is missing"


def _check_record(run: RunFolder, record: Measurement, manifest: AuditManifest) -> Iterator[str]:
    """Yield what is wrong with one record: names, seeds, measures and curves."""
    place = f"the record of {record.id!r:.40} in 'records.jsonl'"
    if record.id != record.sha256[:16]:
        yield f"{place} has another SHA-256"
        return
    for rung, ladder in record.rungs.items():
        if isinstance(ladder, RungMeasurement) and (wrong := _check_ladder(record, rung, ladder, manifest)):
            yield f"{place}: {rung.value}: {wrong}"
    for error in (record.error, record.caption_error):
        if isinstance(error, ErrorMeasurement) and not _is_mean(error):
            yield f"{place}: its errors are not the means of those by timestep"
    try:
        curves = read_json(run.image_folder(record.id) / "curves.json")
        same = isinstance(curves, dict) and curves == _curves(record)
    except RunFolderError as error:
        yield f"'images/{record.id}/curves.json' {error}"
        return
    if not same:
        yield f"'images/{record.id}/curves.json' does not hold the curves of the record in 'records.jsonl'"


def _curves(record: Measurement) -> dict[str, object]:
    """Return what curves.json holds of a record."""
    points = [] if isinstance(record.error, Skipped) else record.error.by_timestep
    return {"loss": record.loss_curve, "by_timestep": [asdict(point) for point in points]}


def _is_mean(error: ErrorMeasurement) -> bool:
    """Return whether the errors are the means of those by timestep, each counted as often as it was drawn."""
    draws = sum(point.draws for point in error.by_timestep)
    if not draws:
        return True
    conditional = sum(point.draws * point.conditional for point in error.by_timestep) / draws
    null = sum(point.draws * point.null for point in error.by_timestep) / draws
    pairs = ((error.conditional, conditional), (error.null, null))
    return all(isclose(said, mean, rel_tol=MEAN_TOLERANCE) for said, mean in pairs)


def _check_ladder(record: Measurement, rung: Rung, ladder: RungMeasurement, manifest: AuditManifest) -> str:
    """Return what is wrong with the names, seeds and measures of a rung's replicas; empty when nothing is."""
    seeds = draw_replica_seeds(manifest.seed, record.sha256, manifest.protocol.generation.seeds)
    numbers: dict[float, int] = {}
    asked = set[tuple[float, int]]()
    for replica in ladder.replicas:
        number = numbers[replica.guidance_scale] = numbers.get(replica.guidance_scale, -1) + 1
        if replica.path != name_replica(record.id, rung, replica.guidance_scale, number):
            return f"{replica.path!r:.200} stands in the place of another picture"
        if replica.seed not in seeds:
            return f"seed {replica.seed} follows neither from the run's seed nor from the image"
        if (key := (replica.guidance_scale, replica.seed)) in asked:
            return f"seed {replica.seed} was counted twice"
        asked.add(key)
        if not isinstance(replica.similarity, Skipped) and not isinstance(replica.distance, Skipped):
            lacking = manifest.measured - replica.similarity.keys() - replica.distance.keys()
            if lacking:
                return f"{replica.path!r:.200} lacks {', '.join(sorted(lacking))}, which manifest.json lists"
    given = {seed for _, seed in asked}
    return "" if given == set(seeds) else f"{len(set(seeds) - given)} of {len(seeds)} seeds are missing"
