"""The owner's folder: every file is a target or skipped with its reason."""

import hashlib
import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from tests.conftest import random_image


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
    others, stray = portfolio.remarks
    assert others.startswith("left out: 2 files that are not images") and ".mov 1" in others and "hidden 1" in others
    assert stray.startswith("1 text file belongs to no image, and no caption was read from it: 'notes.txt'. ")


def test_captions_that_are_named_like_no_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    random_image(1).save(tmp_path / "fox.png")
    for name in ("fox.txt", "fux.txt", "fox.png.txt", "sub/fox.txt", "sub/e\x1bn.txt", os.fsdecode(b"sub/\xff.txt")):
        (tmp_path / name).write_text("a fox")
    [remark] = read_portfolio(tmp_path, CaptionSource(tmp_path)).remarks
    assert remark.startswith("5 text files belong to no image, and no caption was read from them: 'fox.png.txt', ")
    assert "'fux.txt', 'sub/e\\x1bn.txt' and 2 more. A caption is named like its image" in remark
    remark.encode("utf-8")
    assert read_portfolio(tmp_path, CaptionSource(tmp_path, sidecars=False)).remarks == []


@pytest.mark.slow
def test_twenty_thousand_files_are_listed_and_accounted_for(tmp_path: Path) -> None:
    for number in range(100):
        folder = tmp_path / f"{number:03d}"
        folder.mkdir()
        random_image(number).save(folder / "0000.png")
        (folder / "0001.png").touch()
        for inner in range(2, 200):
            os.link(folder / f"000{inner % 10 != 0:d}.png", folder / f"{inner:04d}.png")
    portfolio = read_portfolio(tmp_path, CaptionSource(tmp_path))
    assert portfolio.count == 20_000 and len(portfolio.targets) == 100
    reasons = Counter(one.skipped.partition(" /")[0] for one in portfolio.skipped)
    assert reasons == {"the file is identical to": 1_900, "the file is empty (0 bytes)": 18_000}


def test_files_that_are_not_measured_keep_their_digest(tmp_path: Path) -> None:
    random_image(1).save(tmp_path / "a.png")
    (tmp_path / "again.png").write_bytes((tmp_path / "a.png").read_bytes())
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    portfolio = read_portfolio(tmp_path, CaptionSource(tmp_path))
    kept = {Path(one.path).name: one.sha256 for one in portfolio.skipped}
    for name in ("again.png", "red.png", "broken.png"):
        assert kept[name] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert kept["gone.png"] == ""
