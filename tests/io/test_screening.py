import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from imgaudit.exceptions import InputError
from imgaudit.io import screening
from imgaudit.io.captions import CaptionSource
from imgaudit.io.listing import list_images
from imgaudit.io.portfolio import read_portfolio
from imgaudit.io.screening import ScreeningCache, screen
from imgaudit.schema.protocol import Framing
from tests.conftest import random_image


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the files that were really read."""
    read: list[Path] = []
    original = screening.load_image

    def noted(path: Path) -> object:
        read.append(path)
        return original(path)

    monkeypatch.setattr(screening, "load_image", noted)
    return read


def look(folder: Path, cache: Path | None, framing: Framing | None = Framing.PAD) -> list[screening.Screened]:
    opened = ScreeningCache(cache)
    try:
        return list(screen(list_images(folder).images, opened, framing=framing))
    finally:
        opened.close()


def test_a_second_look_reads_nothing_and_finds_the_same(
    make_folder: Callable[..., Path], tmp_path: Path, decoded: list[Path]
) -> None:
    folder = make_folder("portfolio", range(70))
    (folder / "broken.png").write_bytes(b"no image")
    first = look(folder, tmp_path / "c.sqlite")
    assert len(decoded) == 71 and [one.path for one in first] == sorted(one.path for one in first)
    assert look(folder, tmp_path / "c.sqlite") == first
    # What could not be read is tried again: the reason may have gone.
    assert len(decoded) == 72 and decoded[-1].name == "broken.png"
    assert look(folder, None) == first and len(decoded) == 143


def test_a_changed_file_or_another_framing_is_read_again(
    make_folder: Callable[..., Path], tmp_path: Path, decoded: list[Path]
) -> None:
    folder = make_folder("portfolio", range(3))
    path = folder / "picture-001.png"
    look(folder, tmp_path / "c.sqlite")
    before = path.stat()
    random_image(99).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    look(folder, tmp_path / "c.sqlite")
    assert decoded[3:] == [path]
    look(folder, tmp_path / "c.sqlite", framing=Framing.CROP)
    assert len(decoded) == 7


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_memory_is_thrown_away(content: bytes, make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder, cache = make_folder("portfolio", range(2)), tmp_path / "c.sqlite"
    cache.write_bytes(content)
    expected = look(folder, None)
    assert look(folder, cache) == expected == look(folder, cache)


def test_a_memory_that_cannot_be_written_is_done_without_and_said(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    cache = ScreeningCache(tmp_path / "file" / "c.sqlite")
    folder = make_folder("portfolio", range(2))
    portfolio = read_portfolio(folder, CaptionSource(folder), cache=cache)
    assert len(portfolio.targets) == 2 and "not remembered" in portfolio.remarks[-1]


def test_a_false_memory_is_found_out_before_anything_is_measured(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, cache = make_folder("portfolio", range(1)), tmp_path / "c.sqlite"
    look(folder, cache, framing=None)
    with sqlite3.connect(cache) as database:
        [(facts,)] = database.execute("SELECT facts FROM screened").fetchall()
        true = screening.ImageFacts.model_validate_json(facts)
        false = true.model_copy(update={"sha256": "0" * 64})
        database.execute("UPDATE screened SET facts = ?", (false.model_dump_json(),))
    database.close()
    opened = ScreeningCache(cache)
    [target] = read_portfolio(folder, CaptionSource(folder), cache=opened).targets
    opened.close()
    assert target.image.sha256 == "0" * 64
    with pytest.raises(InputError, match="changed after it was listed"):
        target.load()
