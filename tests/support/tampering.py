"""Edits of a finished run by somebody who wants another verdict and knows the format: checksums and evidence agree."""

import json
from collections.abc import Callable
from typing import Any

from imgaudit.io.writing import append_lines, read_json, write_json
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification import verify_run

Json = dict[str, Any]


def read_records(run: RunFolder) -> list[Json]:
    """Return the lines of records.jsonl without their checksums."""
    records = [json.loads(line) for line in run.records_path.read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "check"} for record in records]


def write_records(run: RunFolder, records: list[Json]) -> None:
    """Write records.jsonl again, with checksums, and evidence.json."""
    run.records_path.unlink()
    append_lines(run.records_path, records)
    write_evidence(run)


def edit_records(run: RunFolder, change: Callable[[list[Json]], object]) -> None:
    """Change the list of records in place, and write it with new checksums and evidence."""
    records = read_records(run)
    change(records)
    write_records(run, records)


def edit_json(run: RunFolder, name: str, change: Callable[[Any], object]) -> None:
    """Change the content of a JSON file in place, and write new evidence."""
    content = read_json(run.path / name)
    change(content)
    write_json(run.path / name, content)
    write_evidence(run)


def problems(run: RunFolder, check: str = "") -> list[str]:
    """Return what verification finds, of one check or of all."""
    found = verify_run(run)
    return [problem for one in found.checks if check in {"", one.name} for problem in one.problems]


def measured(records: list[Json], number: int = 0) -> Json:
    """Return one of the records of measured images."""
    return [record for record in records if record["stage"] == "measured"][number]
