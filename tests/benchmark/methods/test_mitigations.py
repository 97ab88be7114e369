"""The labs that the benchmark of mitigations takes."""

from pathlib import Path

import pytest

from imgaudit.benchmark.methods.mitigations import copy_filtered
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription
from tests.conftest import tiny_recipe


def test_only_a_lab_that_differs_by_its_filter_alone_is_copied(tmp_path: Path) -> None:
    recipe = tiny_recipe(name="plain")
    lab = LabDescription(recipe=recipe, background_images=0, images=[])
    (tmp_path / "lab" / "model").mkdir(parents=True)
    (tmp_path / "lab" / "model" / "model_index.json").write_text("{}", encoding="utf-8")

    def write(**changes: object) -> None:
        named = recipe.model_copy(update={"name": "other"} | changes)
        lab.model_copy(update={"recipe": named}).write(tmp_path / "lab" / "lab.json")

    unlike: tuple[dict[str, object], ...] = ({}, {"filter_rms": 0.1, "seed": 5})
    for changes in unlike:
        write(**changes)
        with pytest.raises(InputError, match="expected a lab trained as 'plain' but with filter_rms"):
            copy_filtered(tmp_path / "lab", lab, tmp_path / "copy")
    write(filter_rms=0.1)
    copy_filtered(tmp_path / "lab", lab, tmp_path / "copy")
    assert (tmp_path / "copy" / "model_index.json").read_text(encoding="utf-8") == "{}"
