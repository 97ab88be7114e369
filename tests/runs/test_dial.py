"""The dial: exact where it must be, monotone where it can be, and no model's word for it but the run's own rules."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.quantisation import SETTINGS, count_stored_bits, quantise, sort_settings, truncate_embedding
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.io.writing import read_json
from imgaudit.lab.description import LabDescription
from imgaudit.models.loading import bundled_lab
from imgaudit.schema.dial import Dial, DialPoint


def condition(seed: int, positions: int = 6, width: int = 8) -> PromptEmbeds:
    stream = torch.randn(1, positions, width, generator=torch.Generator().manual_seed(seed))
    free = torch.ones(positions, dtype=torch.bool)
    free[0] = False
    return PromptEmbeds({"text": stream}, {"text": free})


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=20), st.integers(1, 8))
def test_quantised_numbers_are_within_half_a_step_and_keep_the_extremes(values: list[float], precision: int) -> None:
    row = torch.tensor([values], dtype=torch.float64)
    rounded = quantise(row, precision)
    step = float(row.max() - row.min()) / (2**precision - 1)
    assert float((rounded - row).abs().max()) <= step / 2 + 1e-9
    assert len(torch.unique(rounded)) <= 2**precision
    assert float(rounded.min()) == pytest.approx(float(row.min())) and float(rounded.max()) == pytest.approx(
        float(row.max())
    )


def test_full_rank_and_high_precision_give_the_embedding_back_and_bos_is_never_touched() -> None:
    embedding, null = condition(1), condition(0)
    embedding.streams["text"][0, 0] = null.streams["text"][0, 0]
    whole, bits = truncate_embedding(embedding, null, None, 5, 24)
    torch.testing.assert_close(whole.streams["text"], embedding.streams["text"], atol=1e-5, rtol=1e-5)
    assert bits == count_stored_bits(5, 8, 5, 24)
    low, _ = truncate_embedding(embedding, null, 2, 1, 2)
    assert torch.equal(low.streams["text"][0, [0, 3, 4, 5]], null.streams["text"][0, [0, 3, 4, 5]])
    assert not torch.equal(low.streams["text"][0, 1], null.streams["text"][0, 1])


def test_a_difference_of_rank_one_needs_rank_one() -> None:
    null = condition(0)
    left, right = torch.randn(5, 1), torch.randn(1, 8)
    stream = null.streams["text"].clone()
    stream[0, 1:] += left @ right
    again, _ = truncate_embedding(null.with_streams({"text": stream}), null, None, 1, 20)
    torch.testing.assert_close(again.streams["text"], stream, atol=1e-4, rtol=1e-4)


def test_settings_are_tried_from_the_fewest_bits_on() -> None:
    ordered = sort_settings(condition(0, positions=16, width=64), None)
    assert sorted(ordered) == sorted(SETTINGS) and ordered[0] == (1, 1)
    bits = [count_stored_bits(15, 64, rank, precision) for rank, precision in ordered]
    assert bits == sorted(bits)


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
