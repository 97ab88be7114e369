"""The dial: exact where it must be, monotone where it can be, and no model's word for it but the run's own rules."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.io.writing import read_json
from imgaudit.lab.description import LabDescription
from imgaudit.models.loading import bundled_lab
from imgaudit.schema.dial import Dial, DialPoint


def test_the_first_setting_with_half_of_its_copies_is_the_fewest() -> None:
    def point(bits: int, hits: int) -> DialPoint:
        return DialPoint(rank=1, precision=2, bits=bits, hits=hits, n=8, best_similarity=0.5)

    told = {"similarity": 0.8, "distance": 0.2}
    dial = Dial(
        guidance_scale=3.0,
        seeds=8,
        thresholds=told,
        whole=point(30_000, 8),
        image_bits=9000,
        points=[point(300, 3), point(500, 4)],
    )
    assert dial.fewest == point(500, 4)
    assert dial.model_copy(update={"points": [point(300, 3)]}).fewest is None


@pytest.fixture
def demo_run(tmp_path: Path) -> Path:
    """An audit of four images that the demo model memorised."""
    lab = bundled_lab("demo")
    known = {image.sha256: image for image in LabDescription.read(lab / "lab.json").images}
    folder = tmp_path / "targets"
    folder.mkdir()
    memorised = [p for p in find_images(lab / "portfolio") if known[load_image(p).sha256].memorised]
    for path in memorised[:4]:
        shutil.copy(path, folder)
    command = [
        "audit",
        str(folder),
        "--model",
        "demo",
        "--calibration",
        str(lab / "calibration.json"),
        "--framing",
        "pad",
    ]
    run = tmp_path / "run"
    result = CliRunner().invoke(app, [*command, "--effort", "quick", "--fail-on", "never", "-q", "--out", str(run)])
    assert result.exit_code == 0, result.output
    return run


@pytest.mark.slow
def test_the_dial_is_turned_on_a_finished_run_and_shown_in_its_report(demo_run: Path) -> None:
    result = CliRunner().invoke(app, ["dial", str(demo_run), "--model", "demo", "--seeds", "4", "--quiet"])
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80, result.stdout
    dials = sorted(demo_run.glob("images/*/dial.json"))
    assert len(dials) >= 3 and len(result.stdout.splitlines()) == 1 + len(dials)
    for path in dials:
        dial = Dial.model_validate(read_json(path))
        assert dial.whole.n == 4 and dial.points[-1].bits < dial.whole.bits
        page = (demo_run / "report" / f"{path.parent.name}.html").read_text(encoding="utf-8")
        assert "How little of the embedding is needed" in page
    stamps = [path.stat().st_mtime_ns for path in dials]
    again = CliRunner().invoke(app, ["dial", str(demo_run), "--model", "demo", "--seeds", "4", "--quiet"])
    assert again.stdout == result.stdout and [path.stat().st_mtime_ns for path in dials] == stamps
    fewer = CliRunner().invoke(app, ["dial", str(demo_run), "--model", "demo", "--seeds", "2", "--quiet"])
    assert fewer.exit_code == 0 and Dial.model_validate(read_json(dials[0])).whole.n == 2
    (demo_run / "strict.toml").write_text("copy_level = 0.01\n")
    CliRunner().invoke(app, ["report", str(demo_run), "--policy", str(demo_run / "strict.toml")])
    page = (demo_run / "report" / f"{dials[0].parent.name}.html").read_text(encoding="utf-8")
    assert "How little of the embedding is needed" not in page


def test_a_run_of_another_model_or_no_run_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["dial", str(tmp_path), "--model", "demo"])
    assert result.exit_code != 0 and "not a finished run" in str(result.exception)
