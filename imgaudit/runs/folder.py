"""The run folder on disk: written atomically, appended under a lock, readable after a kill at any moment."""

import json
import re
import stat
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.containment import contain, open_parent
from imgaudit.io.json_stream import read_json_in_pieces
from imgaudit.io.lock import hold_folder
from imgaudit.io.reading import open_regular
from imgaudit.io.writing import MAX_LINE_BYTES, append_lines, read_line, split_lines
from imgaudit.schema.records import Measurement, Skipped, SkippedImage

MAX_FILE_BYTES = 2 * 2**30
"""Bytes of the largest file that a run may hold, so that nothing in one takes for ever to read."""

MAX_TENSOR_BYTES = 256 * 2**20
"""Bytes of a run's file of vectors, embeddings or noise that is read back."""


@dataclass(frozen=True)
class Recorded:
    """Summary of what a run has recorded, without the records themselves."""

    finished: set[str]
    """Ids of images that are measured and whose files are there."""
    skipped: dict[str, bool]
    """Paths that are skipped, and whether they may be there again."""
    lost: int
    """Lines that cannot be read and images whose files are gone: measured again."""


class RunFolder:
    """One audit's folder. Names in it come from hashes, never from the outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Somebody else may have made it: nothing in it is reached through a link.
        contain(path)

    @property
    def manifest_path(self) -> Path:
        """Path of the manifest: what was run, with which model, protocol and versions."""
        return self.path / "manifest.json"

    @property
    def records_path(self) -> Path:
        """One line per finished image."""
        return self.path / "records.jsonl"

    @property
    def report_path(self) -> Path:
        """The machine's view of the result."""
        return self.path / "report.json"

    def read_report_around(self) -> object:
        """Return what report.json holds but for its findings, which are passed over one at a time.

        Raises RunFolderError when it cannot be read.
        """
        return read_json_in_pieces(self.report_path, {"findings": lambda _: None})

    @property
    def calibration_path(self) -> Path:
        """The null bank that was used."""
        return self.path / "calibration.json"

    @property
    def continued_path(self) -> Path:
        """Commands that continued a run of an older version, one a line; absent when one command made it."""
        return self.path / "continued.jsonl"

    @property
    def history_path(self) -> Path:
        """Every command that changed the run, with its beginning and end; absent in runs of older versions."""
        return self.path / "history.jsonl"

    @property
    def seal_path(self) -> Path:
        """The statement that fixed the audit before it began; absent where none did."""
        return self.path / "seal.json"

    @property
    def decoys_path(self) -> Path:
        """Vectors of unrelated images (decoys)."""
        return self.path / "decoys.safetensors"

    @property
    def model_checks_path(self) -> Path:
        """Checks of the model itself, made before anything else was measured."""
        return self.path / "model_checks.json"

    def image_folder(self, image_id: str) -> Path:
        """Return the folder of an image's target and replicas."""
        return self.path / "images" / image_id

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run for this process. Raises RunFolderError when another process holds it, and says which."""
        return hold_folder(self.path, MAX_FILE_BYTES)

    def append_record(self, record: dict[str, Any]) -> None:
        """Append one line and wait until it is on disk."""
        self.append_records([record])

    def append_records(self, records: Sequence[dict[str, Any]]) -> None:
        """Append lines and wait until all of them are on disk."""
        append_lines(self.records_path, records)

    def _records(self) -> Iterator[Measurement | SkippedImage | None]:
        """Every line as what it records, one at a time; None for a line that is damaged or was cut by a kill."""
        for line in split_lines(self.records_path):
            if line.strip():
                yield parse_record(line)

    def recorded(self, *, with_images: bool = True) -> Recorded:
        """Return what is finished, by the same rule as `read_measurements`, with one record in memory at a time.

        with_images:  whether an image's files must be there too
        """
        finished, skipped, lost = set[str](), dict[str, bool](), 0
        for record in self._records():
            if isinstance(record, SkippedImage):
                skipped[record.path] = record.passing
            elif isinstance(record, Measurement) and (not with_images or self.has_images(record)):
                finished.add(record.id)
            else:
                lost += 1
        return Recorded(finished, skipped, lost)

    def has_images(self, measurement: Measurement) -> bool:
        """Tell whether every image that a record names is on disk; a folder can lose files that its records outlive."""
        folder = self.image_folder(measurement.id)
        paths = [folder / "target.png", folder / "rendered.png", folder / "embeds.safetensors"]
        if measurement.frame is not None:
            paths.append(folder / "original.png")
        if measurement.invmm is not None:
            paths.append(folder / "noise.safetensors")
        for measured in measurement.rungs.values():
            if not isinstance(measured, Skipped):
                paths += [self.path / replica.path for replica in measured.replicas]
        try:
            return all(map(_has_content, paths))
        except (OSError, RunFolderError):
            return False

    def read_measurements(self) -> tuple[list[Measurement], list[SkippedImage]]:
        """Read what the run has recorded. A line that is not a valid record is as if it had never been written."""
        measurements: dict[str, Measurement] = {}
        skipped: dict[str, SkippedImage] = {}
        for record in self._records():
            if isinstance(record, Measurement):
                measurements[record.id] = record
            elif isinstance(record, SkippedImage):
                skipped[record.path] = record
        return [measurements[name] for name in sorted(measurements)], list(skipped.values())

    def open_measurements(self) -> "tuple[StoredMeasurements, list[SkippedImage]]":
        """Return the same, but read every measurement anew whenever it is asked for: no two need be in memory."""
        places, skipped, place = dict[str, int](), dict[str, SkippedImage](), 0
        for line in split_lines(self.records_path):
            record = parse_record(line) if line.strip() else None
            if isinstance(record, Measurement):
                places[record.id] = place
            elif isinstance(record, SkippedImage):
                skipped[record.path] = record
            place += len(line)
        return StoredMeasurements(self.records_path, places), list(skipped.values())


class StoredMeasurements(Sequence[Measurement]):
    """Measurements of a run, in order of id, each read from records.jsonl whenever it is asked for.

    Raises RunFolderError when the file was changed in the meantime.
    """

    def __init__(self, path: Path, places: Mapping[str, int]) -> None:
        """Take note of the records.

        places:  where the record that counts begins, in bytes, by id of the image
        """
        self._path, self._ids = path, sorted(places)
        self._places = array("Q", (places[name] for name in self._ids))

    def without(self, ids: Collection[str]) -> "StoredMeasurements":
        """Return the measurements of all other images."""
        places = zip(self._ids, self._places, strict=True)
        return StoredMeasurements(self._path, {name: place for name, place in places if name not in ids})

    @overload
    def __getitem__(self, number: int) -> Measurement: ...
    @overload
    def __getitem__(self, number: slice) -> list[Measurement]: ...
    def __getitem__(self, number: int | slice) -> Measurement | list[Measurement]:
        if isinstance(number, slice):
            return list(self._read(range(*number.indices(len(self)))))
        [one] = self._read([range(len(self))[number]])
        return one

    def __iter__(self) -> Iterator[Measurement]:
        return self._read(range(len(self)))

    def __len__(self) -> int:
        return len(self._ids)

    def _read(self, numbers: Iterable[int]) -> Iterator[Measurement]:
        with open_regular(self._path) as file:
            for number in numbers:
                file.seek(self._places[number])
                record = parse_record(file.readline(MAX_LINE_BYTES))
                if not isinstance(record, Measurement) or record.id != self._ids[number]:
                    raise RunFolderError(f"{str(self._path)!r} was changed while it was read: give the command again")
                yield record


class RecordIndex(Mapping[str, Measurement]):
    """Every measured image of a run by its id; memory grows by a few numbers per image.

    A line that is damaged, or was cut by a kill, is as if it had never been written; of several valid lines of one
    image the last counts, as in `RunFolder.read_measurements`.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.records_path
        self._places: dict[str, list[int]] = {}
        place = 0
        for line in split_lines(self._path):
            if name := _measured_id(line):
                self._places.setdefault(name, []).append(place)
            place += len(line)

    def __getitem__(self, image_id: str) -> Measurement:
        with open_regular(self._path) as file:
            for place in reversed(self._places[image_id]):
                file.seek(place)
                record = parse_record(file.readline(MAX_LINE_BYTES))
                if isinstance(record, Measurement) and record.id == image_id:
                    return record
        raise KeyError(image_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


_BEGINNING = re.compile(rb'\{"stage": "measured", "id": "([0-9a-f]{16})", "path": ')
"""The beginning of every measurement that imgaudit writes; a line with it and an end need not be parsed to tell its
image."""

_END = re.compile(rb', "check": "[0-9a-f]{16}"\}\n?\Z')
"""The end of every line that was not cut."""

LONGEST_END = 32
"""Bytes of the longest one."""


def _has_content(path: Path) -> bool:
    with open_parent(path) as folder:
        status = folder.status(path.name)
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _measured_id(line: bytes) -> str:
    """The id in a line that says it is a measurement; whether it is a sound one is seen when it is read."""
    if (found := _BEGINNING.match(line)) and _END.search(line, max(0, len(line) - LONGEST_END)):
        return found[1].decode()
    try:
        record = json.loads(line)
        return str(record["id"]) if record["stage"] == "measured" else ""
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def parse_record(line: bytes) -> Measurement | SkippedImage | None:
    """Return what a line records; None for one that is damaged or was cut by a kill."""
    record = read_line(line)
    try:
        stage = record.pop("stage") if record is not None else ""
        if stage == "measured":
            return Measurement.model_validate(record)
        return SkippedImage.model_validate(record) if stage == "skipped" else None
    except (KeyError, TypeError, ValidationError):
        return None
