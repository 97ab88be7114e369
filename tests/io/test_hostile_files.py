import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgaudit.benchmark.robustness.hostile.folder import UNUSUAL_ENTRIES
from imgaudit.benchmark.robustness.hostile.images import HostileFile, Outcome, make_hostile_images, open_rights
from imgaudit.benchmark.robustness.hostile.texts import hostile_captions, make_hostile_tables
from imgaudit.exceptions import ImageError
from imgaudit.io.images import load_image

MARKER = "QX7-private-QX7"

KINDS = {
    "metadata", "sound", "mislabelled", "truncated", "zero bytes", "16 bit", "CMYK", "palette", "alpha",
    "float and HDR", "ICC profile", "orientation", "animated", "multi-page", "HEIC", "tiny and extreme",
    "decompression bomb", "polyglot", "active formats", "other formats", "corrupt structure", "names", "same name",
    "identical", "symbolic link", "no ordinary file",
}  # fmt: skip

SECONDS, MEGABYTES = 5.0, 1000
"""What reading one file may take: of the processor, so that a busy machine changes nothing, and of memory."""

LARGE = "64 million"
"""Pictures just below the limit on pixels are allowed thrice as much."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[HostileFile]]:
    folder = tmp_path_factory.mktemp("hostile")
    yield make_hostile_images(folder, MARKER)
    open_rights(folder)


def memory(field: str) -> int:
    """VmHWM (the most so far) or VmRSS (now) in megabytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) // 1000 for line in lines if line.startswith(field)), 0)


def forget_peak() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="utf-8")


def test_there_is_one_of_every_kind_and_every_entry_is_listed(hostile: list[HostileFile]) -> None:
    assert {file.kind for file in hostile} == KINDS
    assert len({file.path for file in hostile}) == len(hostile)
    assert all(count >= 15 for count in Counter(file.expected for file in hostile).values())
    folder = next(parent for parent in hostile[0].path.parents if parent.name.startswith("hostile"))
    met = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    folders = {file.path for file in hostile if file.path.is_dir() and not file.path.is_symlink()}
    assert met | folders == {file.path for file in hostile}


def test_no_picture_is_there_twice_by_accident(hostile: list[HostileFile]) -> None:
    possible = [file for file in hostile if file.expected in {Outcome.MEASURED, Outcome.EITHER} and file.path.is_file()]
    pictures = []
    for file in possible:
        try:
            pictures.append(load_image(file.path).pixels)
        except ImageError:
            assert file.expected is not Outcome.MEASURED, file.path
    assert len({(picture.size, picture.tobytes()) for picture in pictures}) == len(pictures) > 200
    assert sum(file.path.stat().st_size for file in hostile if file.path.is_file()) < 40_000_000


def test_a_few_of_each_kind_leave_no_kind_out(hostile: list[HostileFile], tmp_path: Path) -> None:
    some = make_hostile_images(tmp_path / "few", MARKER, 2)
    try:
        assert {(file.kind, file.expected) for file in some} == {(file.kind, file.expected) for file in hostile}
        counts = Counter((file.kind, file.expected) for file in some if file.kind not in UNUSUAL_ENTRIES)
        assert max(counts.values()) == 2 and len(some) < len(hostile) - 100
        every = Counter(file.kind for file in hostile if file.kind in UNUSUAL_ENTRIES)
        assert Counter(file.kind for file in some if file.kind in UNUSUAL_ENTRIES) == every
        found = {path for path in (tmp_path / "few").rglob("*") if path.is_symlink() or not path.is_dir()}
        assert found <= {file.path for file in some}
    finally:
        open_rights(tmp_path / "few")


def test_the_marker_is_planted_and_is_no_caption(hostile: list[HostileFile]) -> None:
    files = [file for file in hostile if file.kind == "metadata" and file.expected is Outcome.MEASURED]
    assert all(MARKER.encode() in file.path.read_bytes() for file in files)
    assert not any(MARKER in repr(load_image(file.path).facts) for file in files)


@pytest.mark.slow
def test_every_file_is_read_or_refused_in_bounded_time_and_memory(
    hostile: list[HostileFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: object, **_: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    # Pillow would hand PostScript to Ghostscript.
    monkeypatch.setattr(subprocess, "Popen", started)
    for file in hostile:
        if file.path.is_dir():
            continue
        forget_peak()
        before, start = memory("VmRSS"), time.process_time()
        try:
            assert load_image(file.path).pixels.mode == "RGB"
        except ImageError as error:
            assert str(error)
        allowed = 3 if file.path.name.startswith(LARGE) else 1
        assert time.process_time() - start < SECONDS * allowed, file.path
        assert memory("VmHWM") - before < MEGABYTES * allowed, file.path


def test_tables_are_small_and_name_what_they_are_for(tmp_path: Path) -> None:
    start = time.monotonic()
    tables = make_hostile_tables(tmp_path / "tables", ["a.png", "b/\u00e9.png"])
    assert time.monotonic() - start < 10
    assert {table.path for table in tables} == set((tmp_path / "tables").iterdir())
    assert len(tables) > 60 and {table.refused for table in tables} == {True, False}
    assert all(b"a.png" in table.path.read_bytes().replace(b"\0", b"") for table in tables if not table.refused)
    sparse = tmp_path / "tables" / "sparse.jsonl"
    assert sparse.stat().st_size == 300_000_000 and sparse.stat().st_blocks * 512 < 1_000_000


def test_captions_differ_and_hold_what_breaks_pages() -> None:
    captions = hostile_captions()
    assert len(set(captions)) == len(captions) >= 25
    assert any("</script>" in caption for caption in captions) and max(map(len, captions)) >= 1_000_000
