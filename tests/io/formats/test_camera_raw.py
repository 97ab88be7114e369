"""Raws of cameras: told by their contents, skipped without LibRaw, and developed with it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.camera_raw import find_raw_format
from imgaudit.io.images import load_image
from tests.support.raw_files import COLOURS, SIZE, write_dng


def test_a_raw_is_told_by_its_contents_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("a.dng", "a.tif", "a.jpg"):
        write_dng(tmp_path / name)
        with pytest.raises(ImageError, match=r"is a camera's raw .*export it as JPEG or TIFF.*imgaudit\[raw\]"):
            load_image(tmp_path / name)


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"FUJIFILMCCD-RAW 0201FF", "RAF"), (b"IIRO\x08\0\0\0", "ORF"), (b"IIU\0\x18\0\0\0", "RW2"), (b"FOVb", "X3F"),
     (b"II*\0\x10\0\0\0CR\x02\0", "CR2"), (b"\0\0\0\x18ftypcrx \0\0\0\1", "CR3"), (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
     (b"\xff\xd8\xff", ""), (b"II*\0\x08\0\0\0", ""), (b"", "")],
)  # fmt: skip
def test_formats_of_cameras_are_named(start: bytes, name: str) -> None:
    assert find_raw_format(start) == name


def test_libraw_reads_a_raw_in_full_and_a_note_says_so(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng")
    loaded = load_image(tmp_path / "a.dng")
    assert loaded.pixels.size == SIZE[::-1] and any("LibRaw" in note for note in loaded.notes)
    pixels = np.asarray(loaded.pixels, dtype=float)
    encoded = np.where(COLOURS <= 0.0031308, 12.92 * COLOURS, 1.055 * COLOURS ** (1 / 2.4) - 0.055) * 255
    seen = [pixels[24, 32], pixels[24, 96], pixels[72, 32], pixels[72, 96]]
    # LibRaw may brighten the whole; the channels stay in their order, and near what the camera saw.
    for one, wanted in zip(seen, encoded, strict=True):
        assert np.abs(one - wanted).max() < 25 and np.argsort(one)[0] == np.argsort(wanted)[0]


def test_a_raw_of_unknown_colours_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng")
    data = (tmp_path / "a.dng").read_bytes()
    # Without the tag of the colour matrix LibRaw would take the camera's colours for sRGB.
    hidden = data.replace((50721).to_bytes(2, "little") + b"\x0a\0", (50720).to_bytes(2, "little") + b"\x0a\0")
    assert hidden != data
    (tmp_path / "a.dng").write_bytes(hidden)
    with pytest.raises(ImageError, match="LibRaw knows nothing"):
        load_image(tmp_path / "a.dng")
