"""Files of a folder: images, entries that cannot be read, and everything else."""

from pathlib import Path

import pytest
from PIL import Image

from imgaudit.exceptions import InputError
from imgaudit.io.decoding import FORMATS
from imgaudit.io.listing import find_images
from tests.conftest import random_image


def test_links_and_hidden_files_are_not_listed(tmp_path: Path) -> None:
    random_image(1).save(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    random_image(2).save(tmp_path / "sub" / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    random_image(3).save(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("no")
    assert find_images(tmp_path) == [tmp_path / "a.png", tmp_path / "sub" / "a.png"]
    with pytest.raises(InputError, match="is not a folder"):
        find_images(tmp_path / "a.png")


def test_every_file_name_of_a_format_that_is_read_is_listed(tmp_path: Path) -> None:
    Image.init()
    read = {suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS} | {".hif", ".heic", ".heif", ".qoi"}
    for suffix in read:
        (tmp_path / f"a{suffix.upper()}").touch()
    assert {path.suffix.lower() for path in find_images(tmp_path)} == read
