"""A benchmark's work on a lab: the images that a bundled lab brings, and what to do without any."""

from pathlib import Path

import pytest

from imgaudit.benchmark.harness.lab_model import LabModel, lab_folder
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.settings import SpeedSettings
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription
from imgaudit.models.loading import LoadedModel


def open_without_model(monkeypatch: pytest.MonkeyPatch, description: Path, folder: Path) -> LabWork:
    """Open a lab of which no network is needed."""
    lab = LabModel(folder, LabDescription.read(description / "lab.json"), LoadedModel(None, "", "", {}))  # type: ignore[arg-type]
    monkeypatch.setattr("imgaudit.benchmark.harness.lab_work.open_lab", lambda *_: lab)
    return LabWork.open(SpeedSettings(), lambda *_: None)


@pytest.mark.parametrize(("name", "fewest"), [("demo", 264), ("demo-128", 24)])
def test_a_bundled_lab_brings_images(name: str, fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, demo-128 was said to lack a folder that it never had."""
    folder = lab_folder(name)
    work = open_without_model(monkeypatch, folder, folder)
    known = {image.sha256 for image in work.lab.description.images}
    assert len(work.located) >= fewest and set(work.located) <= known


def test_without_images_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lab 'report-128' brings no images: build the corpus .* --images"):
        open_without_model(monkeypatch, lab_folder("demo-128"), tmp_path)
