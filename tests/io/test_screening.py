import os
import sqlite3
from collections import Counter
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


def test_nothing_in_a_folder_goes_unsaid(tmp_path: Path) -> None:
    random_image(1).save(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    for name in ("a.psd", "sub/b.JPG", "notes.txt", "film.mov", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "away").symlink_to(tmp_path / "sub", target_is_directory=True)
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    portfolio = read_portfolio(tmp_path, CaptionSource(tmp_path))
    reasons = {Path(one.path).name: one.skipped for one in portfolio.skipped}
    assert set(reasons) == {"a.psd", "b.JPG", "link.png", "away", "dangling.jpg"}
    assert all("symbolic link" in reasons[name] for name in ("link.png", "away", "dangling.jpg"))
    assert portfolio.count == 6 and len(portfolio.targets) == 1
    [remark] = portfolio.remarks
    assert remark.startswith("2 other files") and ".mov 1" in remark and "hidden 1" in remark


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed_and_accounted_for(tmp_path: Path) -> None:
    for number in range(100):
        folder = tmp_path / f"{number:03d}"
        folder.mkdir()
        random_image(number).save(folder / "0000.png")
        (folder / "0001.png").touch()
        for inner in range(2, 1000):
            os.link(folder / f"000{inner % 10 != 0:d}.png", folder / f"{inner:04d}.png")
    portfolio = read_portfolio(tmp_path, CaptionSource(tmp_path))
    assert portfolio.count == 100_000 and len(portfolio.targets) == 100
    reasons = Counter(one.skipped.partition(" /")[0] for one in portfolio.skipped)
    assert reasons == {"identical to": 9_900, "the file is empty (0 bytes)": 90_000}
