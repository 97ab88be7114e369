"""The run folder on disk: written atomically, appended under a lock, readable after a kill at any moment."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
from pydantic import ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.records import Measurement, SkippedImage


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is either the old one or the new one, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    data = content.encode("utf-8") if isinstance(content, str) else content
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically. NaN and infinity are refused: what was not measured is said in words."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. Raises RunFolderError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error}") from error


class RunFolder:
    """One audit's folder. Names in it come from hashes, never from the outside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest_path(self) -> Path:
        """What was run, with which model, protocol and versions."""
        return self.path / "manifest.json"

    @property
    def records_path(self) -> Path:
        """One line per finished image."""
        return self.path / "records.jsonl"

    @property
    def report_path(self) -> Path:
        """The machine's view of the result."""
        return self.path / "report.json"

    @property
    def calibration_path(self) -> Path:
        """The null bank that was used."""
        return self.path / "calibration.json"

    @property
    def decoys_path(self) -> Path:
        """Vectors of images nobody asked for."""
        return self.path / "decoys.safetensors"

    def image_folder(self, image_id: str) -> Path:
        """Where an image's target and replicas lie."""
        return self.path / "images" / image_id

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process. Raises RunFolderError when another process holds it, and says which."""
        self.path.mkdir(parents=True, exist_ok=True)
        holder = self.path / ".lock-holder"
        lock = filelock.FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            who = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "an unknown process"
            raise RunFolderError(
                f"{str(self.path)!r} is being written by {who}; wait for it, or choose another --out"
            ) from error
        try:
            holder.write_text(f"process {os.getpid()}\n", encoding="utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def append_record(self, record: dict[str, Any]) -> None:
        """Append one line and wait until it is on disk."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=False)
        with self.records_path.open("ab+") as file:
            # A kill can leave half a line; the next one must not be glued to it.
            if file.tell() and not self._ends_with_newline():
                file.write(b"\n")
            file.write(line.encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _ends_with_newline(self) -> bool:
        with self.records_path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def read_records(self) -> list[dict[str, Any]]:
        """Every complete line; a line cut by a kill is left out, and its image is measured again."""
        if not self.records_path.is_file():
            return []
        records = []
        for line in self.records_path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                records.append(record)
        return records

    def read_measurements(self) -> tuple[list[Measurement], list[SkippedImage]]:
        """What the run has recorded. A line that is not a valid record is as if it had never been written."""
        measurements: dict[str, Measurement] = {}
        skipped: dict[str, SkippedImage] = {}
        for record in self.read_records():
            stage = record.pop("stage", None)
            try:
                if stage == "measured":
                    measurement = Measurement.model_validate(record)
                    measurements[measurement.id] = measurement
                elif stage == "skipped":
                    one = SkippedImage.model_validate(record)
                    skipped[one.path] = one
            except ValidationError:
                continue
        return [measurements[name] for name in sorted(measurements)], list(skipped.values())

    def write_evidence(self) -> None:
        """evidence.json: SHA-256 of every file that is evidence, chained in order of path.

        report/ and decisions are left out, because they may be made again.
        """
        chain = ""
        files = []
        for path in sorted(self.path.rglob("*")):
            relative = path.relative_to(self.path)
            if not path.is_file() or relative.parts[0] in {"report", "decisions.jsonl", "evidence.json"}:
                continue
            if relative.name.startswith("."):
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            chain = hashlib.sha256(f"{chain}{relative.as_posix()}{digest}".encode()).hexdigest()
            files.append({"path": relative.as_posix(), "sha256": digest, "chain": chain})
        write_json(self.path / "evidence.json", {"files": files, "head": chain})
