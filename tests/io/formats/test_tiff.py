"""Directories of a TIFF: the full picture is read, wherever it stands, and never a copy of it."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.tiff import choose_page, open_tiff, present_page, read_directories
from imgaudit.io.formats.tiff_reading import read_tiff
from imgaudit.io.images import load_image
from tests.conftest import random_image

Page = tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], dict[str, object]]
FULL = np.asarray(random_image(1, (64, 48)))
SMALL = np.asarray(random_image(2, (16, 12)))
OTHER = np.asarray(random_image(3, (50, 50)))


def write(path: Path, *pages: Page) -> Path:
    with tifffile.TiffWriter(path) as file:
        for pixels, options in pages:
            file.write(pixels, photometric="rgb", metadata=None, **options)
    return path


def read(path: Path) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], tuple[str, ...]]:
    loaded = load_image(path)
    return np.asarray(loaded.pixels), loaded.notes


@pytest.mark.parametrize("kind", [1, 8, 16, 65537])
def test_a_first_page_that_says_it_is_reduced_is_passed_over(tmp_path: Path, kind: int) -> None:
    """Reduced, depth map, enhanced picture, and alternative preview."""
    pixels, notes = read(write(tmp_path / "a.tif", (SMALL, {"subfiletype": kind}), (FULL, {})))
    assert np.array_equal(pixels, FULL) and any("full one is read" in note for note in notes)


def test_the_full_picture_below_a_thumbnail_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (SMALL, {"subfiletype": 1, "subifds": 1}), (FULL, {"subfiletype": 0}))
    pixels, notes = read(path)
    assert np.array_equal(pixels, FULL) and any("full one is read" in note for note in notes)


def test_smaller_copies_below_and_behind_the_picture_change_nothing(tmp_path: Path) -> None:
    below = write(tmp_path / "a.tif", (FULL, {"subifds": 1}), (SMALL, {"subfiletype": 1}))
    behind = write(tmp_path / "b.tif", (FULL, {}), (FULL[::2, ::2], {"subfiletype": 1}))
    for path in (below, behind):
        pixels, notes = read(path)
        assert np.array_equal(pixels, FULL) and notes == ()


def test_an_unmarked_thumbnail_is_told_by_its_proportions(tmp_path: Path) -> None:
    pixels, notes = read(write(tmp_path / "a.tif", (SMALL, {}), (FULL, {})))
    assert np.array_equal(pixels, FULL) and any("smaller copy" in note for note in notes)


def test_an_unmarked_thumbnail_is_told_from_a_picture_below_it(tmp_path: Path) -> None:
    pixels, notes = read(write(tmp_path / "a.tif", (SMALL, {"subifds": 1}), (FULL, {})))
    assert np.array_equal(pixels, FULL) and any("smaller copy" in note for note in notes)


def test_a_thumbnail_of_one_fixed_size_is_told_by_its_size(tmp_path: Path) -> None:
    """Cameras and scanners write 160 x 120 whatever the picture is, with bars beside it."""
    barred, page = np.asarray(random_image(4, (20, 20))), np.asarray(random_image(5, (300, 300)))
    pixels, _ = read(write(tmp_path / "a.tif", (barred, {}), (FULL, {})))
    assert np.array_equal(pixels, FULL)
    # A page of ordinary size before a larger one is a page.
    pixels, notes = read(write(tmp_path / "b.tif", (page, {}), (np.asarray(random_image(6, (900, 700))), {})))
    assert np.array_equal(pixels, page) and notes == ("first of 2 pages; the others are not examined",)


def test_a_mask_is_told_by_its_kind_of_colours(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(FULL[..., 0] > 99, photometric=4, metadata=None)  # type: ignore[arg-type]
        file.write(FULL, photometric="rgb", metadata=None)
    pixels, _ = read(tmp_path / "a.tif")
    assert np.array_equal(pixels, FULL)


def test_of_a_document_the_first_page_is_read_and_a_note_says_so(tmp_path: Path) -> None:
    pixels, notes = read(write(tmp_path / "a.tif", (OTHER, {}), (FULL, {}), (FULL, {})))
    assert np.array_equal(pixels, OTHER) and notes == ("first of 3 pages; the others are not examined",)


def test_only_reduced_copies_are_no_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (SMALL, {"subfiletype": 1}), (FULL, {"subfiletype": 65537}))
    with pytest.raises(ImageError, match="reduced copies, masks or maps"):
        load_image(path)


def test_chains_without_end_are_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", *[(OTHER[:4, :4], {})] * 100)
    with open_tiff(path.read_bytes()) as tiff:
        chained, below = read_directories(tiff)
        assert len(chained) == 64 and below == []
        assert choose_page(chained, below).note == "first of at least 64 pages; the others are not examined"


@pytest.mark.parametrize("big", [False, True])
def test_any_directory_can_be_presented_as_the_first(tmp_path: Path, big: bool) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=big) as file:
        file.write(SMALL, photometric="rgb", metadata=None)
        file.write(FULL, photometric="rgb", metadata=None)
    data = (tmp_path / "a.tif").read_bytes()
    with open_tiff(data) as tiff:
        shown = present_page(data, read_directories(tiff)[0][1], {262: 1})
    with open_tiff(shown) as tiff:
        page = read_directories(tiff)[0][0]
        assert (page.imagewidth, page.imagelength) == (64, 48) and page.tags[262].value == 1


def test_an_absurd_size_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (FULL, {}))
    with pytest.raises(ImageError, match="declares 64 x 48 pixels"):
        read_tiff(path.read_bytes(), 1000)
