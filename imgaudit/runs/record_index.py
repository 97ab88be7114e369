"""Measurements of a run, read one at a time: where each lies in the file is known, and nothing more is kept."""

import json
from collections.abc import Iterator, Mapping

from imgaudit.runs.folder import RunFolder, parse_record
from imgaudit.schema.records import Measurement


class RecordIndex(Mapping[str, Measurement]):
    """Every measured image of a run by its id; memory grows by a few numbers per image.

    A line that is damaged, or was cut by a kill, is as if it had never been written; of several valid lines of one
    image the last counts, as in `RunFolder.read_measurements`.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.records_path
        self._places: dict[str, list[int]] = {}
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            place = 0
            for line in file:
                if name := _measured_id(line):
                    self._places.setdefault(name, []).append(place)
                place += len(line)

    def __getitem__(self, image_id: str) -> Measurement:
        with self._path.open("rb") as file:
            for place in reversed(self._places[image_id]):
                file.seek(place)
                record = parse_record(file.readline())
                if isinstance(record, Measurement) and record.id == image_id:
                    return record
        raise KeyError(image_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _measured_id(line: bytes) -> str:
    """The id in a line that says it is a measurement; whether it is a sound one is seen when it is read."""
    try:
        record = json.loads(line)
        return str(record["id"]) if record["stage"] == "measured" else ""
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
