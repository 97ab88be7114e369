"""Calibrate, audit with a funnel, repeat, decide again, verify and read the pages, on a tiny model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import append_lines, read_line, split_lines


def invoke(*arguments: object, codes: tuple[int, ...] = (0, 1, 3)) -> str:
    ended = CliRunner().invoke(app, [str(one) for one in arguments])
    assert ended.exit_code in codes, ended.output
    return " ".join(ended.output.split())


CONFIG = "steps = 2\ndraws = 2\nscore_after = 2\nseeds = 1\nnum_inference_steps = 2\nrungs = ['caption', 'embedding']\n"


def test_an_audit_with_a_funnel(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    controls, targets = make_folder("controls", range(20, 104)), make_folder("targets", range(12))
    (tmp_path / "imgaudit.toml").write_text(CONFIG, encoding="utf-8")
    model, bank, run = ["--model", model_folder, "--device", "cpu"], tmp_path / "bank.json", tmp_path / "run"
    invoke("calibrate", controls, *model, "--out", bank)
    assert "funnel" not in NullBank.read(bank).protocol.model_dump(mode="json")
    audit = ["audit", targets, *model, "--calibration", bank, "--funnel", "0.5", "--out", run]
    plan = invoke(*audit, "--dry-run")
    assert "Every image would be scored first (--funnel)" in plan
    assert "those whose score is among the highest 50 %" in plan
    invoke(*audit)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["protocol"]["funnel"] == {"share": 0.5}
    left = [one for one in report["findings"] if one.get("scored_only")]
    assert 0 < len(left) < 12 and report["summary"]["scored_only"] == len(left)
    assert all(one["replication"] == [] and "No image was generated" in one["reason"] for one in left)
    page = (run / "report" / f"{left[0]['id']}.html").read_text(encoding="utf-8")
    assert "No image was generated for it" in page
    assert "nothing to do" in invoke(*audit)
    with pytest.raises(RunFolderError, match=r"funnel\.share 0\.5, now 0\.4"):
        CliRunner().invoke(app, [str(one) for one in (*audit[:-3], "0.4", "--out", run)], catch_exceptions=False)
    invoke("report", run)
    assert json.loads((run / "report.json").read_text(encoding="utf-8"))["findings"] == report["findings"]
    invoke("verify", run, codes=(0,))
    leave_out_by_hand(run)
    said = invoke("verify", run, codes=(1, 2))
    assert "was not asked in all ways, but by its score and the funnel" in said


def test_an_audit_with_a_first_look(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three stages: images end at their first look, at their score, or are asked in all ways."""
    monkeypatch.chdir(tmp_path)
    controls, targets = make_folder("controls", range(20, 120)), make_folder("targets", range(12))
    (tmp_path / "imgaudit.toml").write_text(CONFIG, encoding="utf-8")
    model, bank, run = ["--model", model_folder, "--device", "cpu"], tmp_path / "bank.json", tmp_path / "run"
    invoke("calibrate", controls, *model, "--out", bank)
    # A share of 0.1 has the largest first look: of images like the controls, half are scored.
    audit = ["audit", targets, *model, "--calibration", bank, "--funnel", "0.1", "--out", run]
    assert "first look is among the highest 50 %" in invoke(*audit, "--dry-run")
    invoke(*audit)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["protocol"]["funnel"] == {"share": 0.1, "first_look": {"share": 0.5, "search": 0.25, "draws": 16}}
    records = [one for line in split_lines(run / "records.jsonl") if (one := read_line(line)) is not None]
    measured = [one for one in records if "first_look" in one]
    stopped = [one for one in measured if "skipped" in one["error"]]
    assert len(measured) == 12 and 0 < len(stopped) < 12
    assert {(one["first_look"]["steps"], one["first_look"]["draws"]) for one in measured} == {(1, 16)}
    spent = {one["id"]: one["network_evaluations"] for one in measured}
    assert max(spent[one["id"]] for one in stopped) < min(set(spent.values()) - {spent[one["id"]] for one in stopped})
    [first] = [one for one in report["findings"] if one["id"] == stopped[0]["id"]]
    assert first["verdict"] != "replicated" and "its score was not measured" in first["reason"]
    page = (run / "report" / f"{first['id']}.html").read_text(encoding="utf-8")
    assert "No image was generated for it" in page
    invoke("verify", run, codes=(0,))
    raise_first_look(run, stopped[0]["id"])
    assert "was not asked in all ways, but by its score and the funnel" in invoke("verify", run, codes=(1, 2))


def raise_first_look(run: Path, image_id: str) -> None:
    """Give an image that was left out a first look with which it is to be scored."""
    records = run / "records.jsonl"
    lines = [record for line in split_lines(records) if (record := read_line(line)) is not None]
    own = next(line for line in lines if line.get("id") == image_id and "first_look" in line)
    own["first_look"]["log_ratio"] += 9.0
    records.unlink()
    append_lines(records, lines)


def leave_out_by_hand(run: Path) -> None:
    """Give an image that was left out a score with which it is to be asked."""
    records = run / "records.jsonl"
    lines = [record for line in split_lines(records) if (record := read_line(line)) is not None]
    first = next(line for line in lines if any("texts" in one and "skipped" in one for one in line["rungs"].values()))
    first["error"]["log_ratio"] += 9.0
    records.unlink()
    append_lines(records, lines)
