"""Calibrate, audit, verify and read the pages with a copy descriptor, on a tiny model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from imgaudit.benchmark.verdicts.legs import LegTable, measure_rates
from imgaudit.benchmark.verdicts.legs_audit import Legs, Truth
from imgaudit.cli import app
from imgaudit.decision.null_bank import NullBank
from imgaudit.models.loading import bundled_lab
from imgaudit.report.wording import DESCRIPTOR_FOUND, DESCRIPTOR_LACKED
from imgaudit.schema.records import Skipped
from imgaudit.similarity import matcher
from tests.similarity.test_matcher import Named


@pytest.fixture
def descriptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copy descriptor for images of any size: pixels under another name."""
    monkeypatch.setattr(matcher, "COPY_DESCRIPTOR_SIDE", 16)

    def load(name: str, weights: Path | None = None, device: str = "cpu") -> Named:
        torch.device(device)  # Refuses "auto", which is no device but a way to choose one.
        return Named(name)

    monkeypatch.setattr(matcher, "load_descriptor", load)
    matcher._load_copy_descriptor.cache_clear()
    yield
    matcher._load_copy_descriptor.cache_clear()


def invoke(*arguments: object, codes: tuple[int, ...] = (0, 1, 3)) -> str:
    ended = CliRunner().invoke(app, [str(one) for one in arguments])
    assert ended.exit_code in codes, ended.output
    return ended.output


@pytest.mark.usefixtures("descriptor")
def test_an_audit_with_a_copy_descriptor(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    controls, targets = make_folder("controls", range(20, 62)), make_folder("targets", range(3))
    config = tmp_path / "imgaudit.toml"
    config.write_text("steps = 2\ndraws = 2\nscore_after = 2\nseeds = 2\nnum_inference_steps = 2\n", encoding="utf-8")
    budget = ["--model", model_folder, "--device", "auto"]
    bank = tmp_path / "bank.json"
    invoke("calibrate", controls, *budget, "--out", bank)
    calibrated = NullBank.read(bank)
    assert calibrated.copy_descriptor.startswith("sscd: ")
    assert all(
        seed.copy_similarity is not None for one in calibrated.controls for rung in one.rungs.values() for seed in rung
    )
    policy = tmp_path / "policy.toml"
    policy.write_text('legs = "either"\n', encoding="utf-8")
    run = tmp_path / "run"
    invoke("audit", targets, *budget, "--calibration", bank, "--policy", policy, "--out", run)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    [caption, *_] = report["findings"][0]["replication"]
    assert "copy_similarity" in caption["thresholds"] and report["policy"]["legs"] == "either"
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert not manifest["measures"]["sscd"].startswith("skipped")
    page = next(path for path in (run / "report").glob("*.html") if path.name not in ("index.html", "glossary.html"))
    text = page.read_text(encoding="utf-8")
    assert "copy descriptor &gt;" in text and "moved, cropped or recoloured" in text
    assert "No <a" not in text
    invoke("verify", run, codes=(0,))


def test_a_page_says_why_no_copy_descriptor_was_measured(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imgaudit.toml").write_text("steps = 2\ndraws = 2\nscore_after = 2\nseeds = 2\n", encoding="utf-8")
    run, targets = tmp_path / "run", make_folder("targets", range(1))
    invoke("audit", targets, "--model", model_folder, "--device", "cpu", "--no-controls", "--out", run)
    pages = [path.read_text(encoding="utf-8") for path in (run / "report").glob("*.html")]
    [text] = [page for page in pages if "How the model was asked" in page]
    assert "Copies are told by pixels alone" in text and "images of 16 pixels are too small for it" in text
    assert DESCRIPTOR_LACKED not in text


def test_a_page_says_what_a_missing_copy_descriptor_would_add(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(matcher, "COPY_DESCRIPTOR_SIDE", 16)
    monkeypatch.setattr(matcher, "_load_copy_descriptor", lambda name, device: Skipped(skipped=f"no {name} here"))
    (tmp_path / "imgaudit.toml").write_text("steps = 2\ndraws = 2\nscore_after = 2\nseeds = 2\n", encoding="utf-8")
    run, targets = tmp_path / "run", make_folder("targets", range(1))
    invoke("audit", targets, "--model", model_folder, "--device", "cpu", "--no-controls", "--out", run)
    [page] = [path for path in (run / "report").glob("*.html") if "How the model was asked" in path.read_text("utf-8")]
    text = page.read_text(encoding="utf-8")
    assert "no sscd here" in text and "no sscd-int8 here" in text and DESCRIPTOR_LACKED in text


def test_what_a_copy_descriptor_adds_is_what_the_benchmark_counted() -> None:
    table = LegTable.read(bundled_lab("demo-128") / "legs.json")
    layouts = ("called partial", Truth.LAYOUT.value)
    partial = {
        legs: next(one for one in measure_rates(table.rows, legs) if (one.name, one.group) == layouts)
        for legs in (Legs.PIXELS, Legs.EITHER)
    }
    assert (partial[Legs.PIXELS].hits, partial[Legs.EITHER].hits, partial[Legs.EITHER].n) == DESCRIPTOR_FOUND
