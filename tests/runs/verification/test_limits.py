"""Files that are too large for a run are refused before they are read, with the file named."""

import os
import zlib
from pathlib import Path

import pytest

from imgaudit.exceptions import VerificationError
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import list_run
from imgaudit.runs.verification import limits, verify_run
from tests.support.tampering import edit_json


def write_large_png(path: Path, side: int) -> None:
    """Write a PNG that is small in bytes and large in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    rows = zlib.compressobj()
    data = b"".join(rows.compress(bytes(3 * side + 1)) for _ in range(side)) + rows.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize("name", ["target.png", "rendered.png", "replicas/caption-g3-0000.png"])
def test_a_small_file_that_is_a_large_picture_is_not_decoded(copy: RunFolder, name: str) -> None:
    path = next(copy.path.glob(f"images/*/{name}"))
    write_large_png(path, 3000)
    write_evidence(copy)
    assert path.stat().st_size < 100_000
    with pytest.raises(VerificationError, match=r"has 3,000 x 3,000 pixels, and pictures of this model have 16 x 16"):
        verify_run(copy)


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"no picture", "is no PNG"), (b"x" * 100, "is no PNG"), (b"x" * 100_000, "has 100,000 bytes")],
)
def test_what_is_no_picture_of_the_model_is_not_decoded(copy: RunFolder, content: bytes, found: str) -> None:
    path = next(copy.path.glob("images/*/rendered.png"))
    path.write_bytes(content)
    write_evidence(copy)
    with pytest.raises(VerificationError, match=rf"rendered.png' {found}"):
        verify_run(copy)


def test_a_resolution_that_no_model_has_is_refused(copy: RunFolder) -> None:
    edit_json(copy, "manifest.json", lambda content: content["model"].update(resolution=10**6))
    with pytest.raises(VerificationError, match=r"1,000,000 pixels a side; at most 2,048"):
        verify_run(copy)


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "report.json", "records.jsonl", "calibration.json", "evidence.json", "decoys.safetensors",
     "images/x/curves.json", "report/data.json"],
)  # fmt: skip
def test_files_that_no_run_has_are_refused_by_their_size(copy: RunFolder, name: str) -> None:
    path = copy.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # Sparse: it takes no room on disk, and reading it would take all memory.
    path.touch()
    os.truncate(path, 2**30)
    with pytest.raises(VerificationError, match=rf"{name}' has 1,073,741,824 bytes; at most"):
        verify_run(copy)


def test_all_files_together_have_a_bound(copy: RunFolder) -> None:
    for number in range(20):
        path = copy.path / f"extra{number}"
        path.touch()
        os.truncate(path, 2**28)
    with pytest.raises(VerificationError, match="a run of 2 images has at most"):
        verify_run(copy)


def test_a_line_that_is_too_long_for_a_record_is_refused(copy: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECORD_BYTES", 100_000)
    with copy.records_path.open("ab") as file:
        file.write(b"[" * 100_001 + b"\n")
    write_evidence(copy)
    with pytest.raises(VerificationError, match=r"of 'records.jsonl' has more than 100,000 bytes"):
        verify_run(copy)


def test_deep_folders_and_names_that_are_no_text_are_refused(copy: RunFolder) -> None:
    (copy.path / "/".join("abcdefghijkl")).mkdir(parents=True)
    with pytest.raises(VerificationError, match="lies deeper than a run's folders"):
        verify_run(copy)


def test_the_number_of_files_is_bounded(copy: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgaudit.runs.inventory.MAX_ENTRIES", 5)
    assert "holds more than 5 files" in list_run(copy.path).refused[0]
