"""An audit and its null bank in three shards each, merged: the same findings, records and pictures as in one piece."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgaudit.runs.evidence import read_evidence
from imgaudit.runs.folder import RunFolder
from tests.support.commands import Commands

FAST = [
    "--framing", "pad", "--steps", "2", "--draws", "1", "--score-after", "1", "--seeds", "2", "--num-inference-steps",
    "2", "--guidance-scale", "3", "--device", "cpu", "--batch-size", "64", "--chunk-size", "2", "--quiet",
]  # fmt: skip

pytestmark = pytest.mark.slow


def without_times(value: Any) -> Any:
    """JSON without what clocks decide."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in ("seconds", "made")}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def read(path: Path) -> Any:
    return without_times(json.loads(path.read_text(encoding="utf-8")))


def records(run: Path) -> list[Any]:
    lines = [json.loads(line) for line in (run / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    return [without_times({key: one for key, one in line.items() if key != "check"}) for line in lines]


def pictures(run: Path) -> dict[str, str]:
    """Digests of the files of all images."""
    listed = read_evidence(RunFolder(run))
    return {one.path: one.sha256 for one in listed.files if one.path.startswith("images/")}


def test_three_shards_merged_are_the_undivided_audit(
    model_folder: Path, make_folder: Callable[..., Path], run_imgaudit: Commands, tmp_path: Path
) -> None:
    targets, controls = make_folder("targets", range(7)), make_folder("controls", range(20, 29))
    (targets / "broken.png").write_bytes(b"no image")
    banks, runs = [tmp_path / f"bank-{number}.json" for number in (1, 2, 3)], [tmp_path / f"s{n}" for n in (1, 2, 3)]

    def calibrate(out: Path, *more: object) -> None:
        done = run_imgaudit("calibrate", controls, "--model", model_folder, "--out", out, *FAST, *more)
        assert done.code == 0, done.stderr

    calibrate(tmp_path / "whole.json")
    for number, bank in enumerate(banks, 1):
        calibrate(bank, "--shard", f"{number}/3")
    assert run_imgaudit("merge", *banks, "--out", tmp_path / "bank.json").code == 0
    assert read(tmp_path / "bank.json") == read(tmp_path / "whole.json")

    audit = ["audit", targets, "--model", model_folder, "--calibration", tmp_path / "bank.json", *FAST]
    refused = run_imgaudit(
        "audit", targets, "--model", model_folder, "--calibration", banks[0], "--out", runs[0], *FAST
    )
    assert refused.code == 2 and "shard 1 of 3" in refused.stderr, refused.stderr
    assert run_imgaudit(*audit, "--out", tmp_path / "whole").code in (0, 1, 3)
    for number, run in reversed([*enumerate(runs, 1)]):
        done = run_imgaudit(*audit, "--out", run, "--shard", f"{number}/3")
        assert done.code == 0 and f"shard {number} of 3: " in done.stdout, done.stderr
        assert not (run / "report.json").exists() and not (run / "report" / "index.html").exists()
    merged = run_imgaudit("merge", runs[1], runs[0], runs[2], "--out", tmp_path / "merged")
    assert merged.code in (1, 3), merged.stderr
    one, other = read(tmp_path / "whole" / "report.json"), read(tmp_path / "merged" / "report.json")
    assert one.pop("run")["targets"] == other.pop("run")["targets"]
    assert one == other and len(other["findings"]) == 8
    assert records(tmp_path / "whole") == records(tmp_path / "merged")
    assert pictures(tmp_path / "whole") == pictures(tmp_path / "merged")
    assert read(tmp_path / "whole" / "calibration.json") == read(tmp_path / "merged" / "calibration.json")
    assert run_imgaudit("verify", tmp_path / "merged").code == 0
    assert not (tmp_path / "merged.merging").exists()
    again = run_imgaudit("merge", *runs, "--out", tmp_path / "merged")
    assert again.code == merged.code and again.stdout == merged.stdout and "merged already" in again.stderr
    finished = run_imgaudit(*audit, "--out", tmp_path / "merged")
    assert finished.code == merged.code, finished.stderr
