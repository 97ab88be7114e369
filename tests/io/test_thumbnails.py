"""Thumbnails are made of a run's own pictures, and written in the run alone."""

import os
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.exceptions import RunFolderError
from imgaudit.io import thumbnails, writing
from imgaudit.io.containment import contain
from imgaudit.io.thumbnails import write_thumbnail, write_thumbnails
from imgaudit.io.writing import write_png


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "thumbs").mkdir(parents=True)
    write_png(run / "a.png", Image.new("RGB", (200, 100), "red"))
    contain(run)
    return run


def test_a_thumbnail_is_small_has_its_pictures_time_and_is_made_once(run: Path) -> None:
    small = run / "thumbs" / "a.jpg"
    assert write_thumbnail(run / "a.png", small)
    with Image.open(small) as image:
        assert image.size == (96, 48) and image.format == "JPEG"
    assert small.stat().st_mtime_ns == (run / "a.png").stat().st_mtime_ns
    inode = small.stat().st_ino
    assert write_thumbnail(run / "a.png", small) and small.stat().st_ino == inode
    (run / "a.png").unlink()
    assert not write_thumbnail(run / "a.png", small) and not small.exists()
    assert not write_thumbnail(None, small)


@pytest.mark.skipif(os.name == "nt", reason="making links takes a right that Windows users lack")
@pytest.mark.parametrize("processes", [1, 2])
def test_neither_the_picture_nor_the_thumbnail_is_reached_through_a_link(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    write_png(outside / "a.png", Image.new("RGB", (8, 8), "blue"))
    (outside / "a.jpg").write_bytes(b"theirs")
    (run / "link.png").symlink_to(outside / "a.png")
    (run / "folder").symlink_to(outside)
    assert not write_thumbnail(run / "link.png", run / "thumbs" / "x.jpg")
    assert not (run / "thumbs" / "x.jpg").exists()
    (run / "thumbs" / "a.jpg").symlink_to(outside / "a.jpg")
    assert write_thumbnail(run / "a.png", run / "thumbs" / "a.jpg")
    assert not (run / "thumbs" / "a.jpg").is_symlink()
    monkeypatch.setattr(thumbnails, "FEWEST", 1)
    monkeypatch.setattr(thumbnails, "CHUNK", 1)
    # Processes of their own know the folder, too.
    for source in (run / "a.png", run / "folder" / "a.png"):
        with (
            pytest.raises(RunFolderError, match="is a link"),
            write_thumbnails([(source, run / "folder" / "a.jpg")] * 2, processes) as made,
        ):
            list(made)
    assert (outside / "a.jpg").read_bytes() == b"theirs" and len(list(outside.iterdir())) == 2


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_PNG_PIXELS", 1000)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    assert not write_thumbnail(run / "a.png", run / "thumbs" / "a.jpg")
