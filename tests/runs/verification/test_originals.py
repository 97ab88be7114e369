"""The owner's picture in a run must be the one that was framed, hashed and recorded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgaudit.io.framing import copy_original, frame_image, to_tensor
from imgaudit.io.writing import read_png, write_png
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification import verify_run
from imgaudit.runs.verification.originals import REDUCED, measure_coarse_difference
from imgaudit.schema.protocol import Framing
from tests.support.tampering import Json, edit_records, measured, problems


def test_an_original_that_was_exchanged_or_is_another_size_is_found(copy: RunFolder) -> None:
    assert verify_run(copy).matches
    path = next(copy.path.glob("images/*/original.png"))
    picture = read_png(path)
    write_png(path, picture.transpose(Image.Transpose.ROTATE_90))
    write_evidence(copy)
    found = problems(copy, "pictures")
    assert any("target.png' is not what" in one and "original.png' gives when it is framed" in one for one in found)
    write_png(path, picture.resize((15, 16)))
    write_evidence(copy)
    assert any("has 15 x 16 pixels, which are not those of the record" in one for one in problems(copy, "pictures"))
    path.unlink()
    write_evidence(copy)
    assert any("original.png" in one for one in problems(copy, "pictures"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda record: record.pop("frame"), "its record does not say which part"),
        (lambda record: record["frame"].update(share=0.5), "names another part of the picture"),
        (lambda record: record.update(pdq="0" * 64), "has another PDQ hash"),
    ],
)
def test_a_record_that_contradicts_the_original_is_found(
    copy: RunFolder, change: Callable[[Any], object], found: str
) -> None:
    def edit(records: list[Json]) -> None:
        change(measured(records))

    edit_records(copy, edit)
    assert any(found in problem for problem in problems(copy, "pictures"))


@pytest.mark.parametrize("kind", ["noise", "fine lines"])
@pytest.mark.parametrize("resolution", [32, 256, 1024])
def test_a_copy_that_was_reduced_gives_the_same_frame_and_another_picture_does_not(kind: str, resolution: int) -> None:
    size = (3100, 2400)
    if kind == "noise":
        pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    else:
        rows = (np.arange(size[1]) // 8 % 2 * 255).astype(np.uint8)
        pixels = np.broadcast_to(rows[:, None, None], (*size[::-1], 3)).copy()
    whole = Image.fromarray(pixels)
    # What anybody would see in the other picture: one corner of it is black.
    other = whole.copy()
    other.paste((0, 0, 0), (size[0] // 2, size[1] // 2, *size))
    target, same, edited = (
        to_tensor(frame_image(picture, resolution, Framing.CROP))
        for picture in (whole, copy_original(whole), copy_original(other))
    )
    assert measure_coarse_difference(same, target) <= REDUCED / 2
    assert measure_coarse_difference(edited, target) > REDUCED
