import json
from pathlib import Path

import pytest

from imgaudit.io.captions import CaptionSource
from imgaudit.io.listing import describe_own_output, list_images
from imgaudit.io.portfolio import read_portfolio
from tests.conftest import random_image

RUN = {"command": [], "model": {}, "versions": {}, "started": "", "kind": "audit"}
PAGE = (
    '<!doctype html><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; base-uri 'none'; form-action 'none'\">"
)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("manifest.json", json.dumps(RUN), "a run of imgaudit"),
        (
            "manifest.json",
            '{"format": 1, "descriptor": {}, "shards": [], "sources": []}',
            "a collection of imgaudit index",
        ),
        ("match.json", '{"images_folder": "a", "decoys": 0, "thresholds": {}}', "a result of imgaudit match"),
        ("index.html", PAGE, "a report or complaint of imgaudit"),
        ("complaint.html", PAGE, "a report or complaint of imgaudit"),
    ],
)
def test_what_imgaudit_wrote_is_named_and_not_read(name: str, content: str, what: str, tmp_path: Path) -> None:
    random_image(1).save(tmp_path / "own.png")
    written = tmp_path / "year" / "out"
    (written / "images").mkdir(parents=True)
    (written / name).write_text(content)
    random_image(2).save(written / "images" / "original.png")
    portfolio = read_portfolio(tmp_path, CaptionSource(tmp_path))
    assert [target.path.name for target in portfolio.targets] == ["own.png"] and not portfolio.skipped
    assert portfolio.remarks == [f"not read, because imgaudit wrote it: 'year/out' ({what})"]
    # What the user names is read.
    assert [path.name for path in list_images(written).images] == ["original.png"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", '{"name": "my app", "icons": []}'), ("manifest.json", "[1, 2]"), ("manifest.json", "{"),
        ("manifest.json", "[" * 100_000), ("match.json", '{"score": 3}'), ("index.html", "<html>my gallery</html>"),
        ("report.json", json.dumps(RUN)), ("records.jsonl", ""),
    ],
)  # fmt: skip
def test_other_programs_folders_are_read(name: str, content: str, tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    folder.mkdir()
    (folder / name).write_text(content)
    random_image(2).save(folder / "picture.png")
    listing = list_images(tmp_path)
    assert [path.name for path in listing.images] == ["picture.png"] and not listing.own


def test_many_are_named_in_one_line(tmp_path: Path) -> None:
    own = [(tmp_path / f"run{number}", "a run of imgaudit") for number in range(5)]
    assert describe_own_output(own, tmp_path).endswith("'run2' (a run of imgaudit) and 2 more")
    assert describe_own_output([], tmp_path) == ""
