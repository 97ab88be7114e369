"""Tests of images in layouts that a lab was never trained on."""

from pathlib import Path
from typing import Any

import pytest

from imgaudit.benchmark.verdicts.unseen_layouts import list_kinds, make_layout_images
from imgaudit.exceptions import InputError
from imgaudit.io.reading import hash_file
from imgaudit.lab.description import LabDescription, LabImage
from tests.conftest import tiny_recipe
from tests.lab.test_layout_corpus import make_drawings


def image(name: str, sha256: str, role: Any, text: str = "a drawing, things") -> LabImage:
    return LabImage(
        file_name=name, sha256=sha256, text=text, role=role, repeats=1, exposures=0, exact_exposures=0,
        nearest_training_image="", nearest_similarity=0.0, reproduced=0, truth_seeds=0,
    )  # fmt: skip


@pytest.fixture
def lab() -> LabDescription:
    templates = [image(f"0{n}-{kind}-00.png", f"{n:064x}", "template") for n, kind in enumerate(("logo", "frame"))]
    return LabDescription(recipe=tiny_recipe(), background_images=0, images=templates)


def test_drawings_are_set_into_layouts_of_the_labs_kinds_and_each_is_used_once(
    lab: LabDescription, tmp_path: Path
) -> None:
    assert list_kinds(lab) == ["logo", "frame"]
    files = [entry.path for entry in make_drawings(tmp_path / "drawings", 9)]
    drawings = [image(path.name, hash_file(path), "held_out", f"drawing {n}, set") for n, path in enumerate(files)]
    located = {one.sha256: path for one, path in zip(drawings, files, strict=True)}
    made = make_layout_images(lab, drawings, 4, located, tmp_path / "made", 1)
    assert [one.file_name.split("-")[1] for one in made] == ["logo", "frame", "logo", "frame"]
    for one in made:
        assert hash_file(tmp_path / "made" / one.file_name) == one.sha256
        assert one.role == "held_out" and one.region is not None and 0 < one.region.area < 1
    # Title and kind of the layout, then the caption of the content, as in the lab's corpus.
    titles = [one.text.split(", ", 1) for one in made]
    own, contents = (
        {part.removesuffix(" logo").removesuffix(" frame") for part in parts} for parts in zip(*titles, strict=True)
    )
    assert len(own) == len(contents) == 4 and not own & {part.removesuffix(", set") for part in contents}
    again = make_layout_images(lab, drawings, 4, located, tmp_path / "again", 1)
    assert [one.sha256 for one in again] == [one.sha256 for one in made]
    with pytest.raises(InputError, match="expected 5 drawings for layouts and 5 to set into them, got 5 with enough"):
        make_layout_images(lab, drawings, 5, located, tmp_path / "more", 1)
