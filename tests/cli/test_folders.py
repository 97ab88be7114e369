"""Framing of work that is continued, and what a run keeps of the owner's pictures."""

import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.io.framing import frame_image
from imgaudit.io.writing import read_png
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.protocol import Framing
from tests.conftest import random_image

OPTIONS = {"steps": 1, "draws": 1, "seeds": 1, "num-inference-steps": 1, "device": "cpu"}
FAST = [*(word for key, value in OPTIONS.items() for word in (f"--{key}", str(value))), "-q", "--no-controls"]


def test_a_run_of_before_the_usual_framing_changed_keeps_its_own(model_folder: Path, tmp_path: Path) -> None:
    pictures, run = tmp_path / "portfolio", RunFolder(tmp_path / "run")
    pictures.mkdir()
    random_image(1, (64, 32)).save(pictures / "wide.png")
    command = ["audit", str(pictures), "--model", str(model_folder), "--out", str(run.path), *FAST]
    assert CliRunner().invoke(app, [*command, "--framing", "crop"]).exit_code == 3
    before = run.records_path.read_bytes()
    assert CliRunner().invoke(app, command).exit_code == 3
    assert run.records_path.read_bytes() == before
    assert json.loads(run.manifest_path.read_text())["protocol"]["framing"] == "crop"
    refused = CliRunner().invoke(app, [*command, "--framing", "pad"])
    assert "framing crop, now pad" in str(refused.exception)


def test_a_run_keeps_the_owners_picture_and_says_which_part_was_examined(model_folder: Path, tmp_path: Path) -> None:
    pictures, run = tmp_path / "portfolio", RunFolder(tmp_path / "run")
    pictures.mkdir()
    given = {"wide": random_image(1, (96, 32)), "nearly": random_image(2, (40, 33))}
    for name, image in given.items():
        exif = Image.Exif()
        exif[0x010E] = "taken at home"
        image.save(pictures / f"{name}.png", exif=exif)
    command = ["audit", str(pictures), "--model", str(model_folder), "--out", str(run.path), *FAST]
    assert CliRunner().invoke(app, command).exit_code == 3
    measurements = {Path(one.path).stem: one for one in run.read_measurements()[0]}
    for name, framing in (("wide", Framing.PAD), ("nearly", Framing.CROP)):
        measurement, folder = measurements[name], run.image_folder(measurements[name].id)
        assert measurement.frame is not None and measurement.frame.framing is framing
        original, target = read_png(folder / "original.png"), read_png(folder / "target.png")
        assert original.tobytes() == given[name].tobytes() and b"taken" not in (folder / "original.png").read_bytes()
        assert frame_image(original, target.width, framing).tobytes() == target.tobytes()
    assert measurements["nearly"].frame is not None and measurements["nearly"].frame.share == 33 / 40
    assert run.has_images(measurements["wide"])
    (run.image_folder(measurements["wide"].id) / "original.png").unlink()
    assert not run.has_images(measurements["wide"])
