"""The owner's picture in a run must be the one that was framed, hashed and recorded."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from imgaudit.io.writing import read_png, write_png
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification import verify_run
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
