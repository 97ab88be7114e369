"""The command that attacks the tool, on a small scale; docs/robustness.md has it at full size."""

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from imgaudit.benchmark.robustness.attack import RobustnessReport
from imgaudit.benchmark.robustness.bench import differences
from imgaudit.benchmark.robustness.inputs import report_problems
from imgaudit.benchmark.robustness.layouts.family import LAYOUTS, REFUSED, RIGHT
from imgaudit.benchmark.robustness.processes import PRELOADED
from imgaudit.benchmark.robustness.reaching_outside import SECTION
from imgaudit.benchmark.robustness.tally import Recorder
from imgaudit.benchmark.robustness.tampering.counts import HARMLESS_COPIES, REWRITTEN, TAMPERED
from tests.support.commands import Commands

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_run(model_folder: Path, run_imgaudit: Commands, tmp_path: Path) -> None:
    done = run_imgaudit(
        "benchmark", "robustness", "--model", model_folder, "--kills", "3", "--engine-kills", "0", "--full-disks", "1",
        "--spoilt", "1", "--hostile-files", "1", "--hostile-runs", "1", "--edited-runs", "1",
        "--out", tmp_path, "--save", tmp_path / "table.json", "--quiet", timeout=3000,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    report = RobustnessReport.model_validate_json((tmp_path / "table.json").read_text())
    assert report.problems == [], done.stdout
    assert report.tried == report.ended > 3600
    kinds = {tally.kind: tally for tally in report.tallies}
    layouts = sum((Counter(tally.states) for tally in report.tallies if tally.section == LAYOUTS), Counter[str]())
    assert set(layouts) == {RIGHT, REFUSED} and layouts[RIGHT] > 1300 and layouts.total() > 3000
    kills = [tally for kind, tally in kinds.items() if kind.startswith("killed while")]
    assert sum(tally.tried for tally in kills) >= 3 and all(set(tally.states) == {"identical"} for tally in kills)
    assert {
        "images", LAYOUTS, "texts", "models", "interruption", "damage", "network", SECTION, TAMPERED, REWRITTEN,
        HARMLESS_COPIES,
    } == {t.section for t in report.tallies}  # fmt: skip
    if "disk full at a random write" not in {one.kind for one in report.not_tried}:
        assert kinds["disk full at a random write"].states == {"identical": 1}


@pytest.mark.parametrize("name", PRELOADED)
def test_what_the_server_imports_is_there(name: str) -> None:
    """A server passes over what it cannot import, and every command would import it again."""
    assert importlib.util.find_spec(name) is not None


@pytest.mark.slow
def test_the_reader_stands_coverage_guided_fuzzing() -> None:
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "fuzz_images.py"), "4", "1"], cwd=ROOT,
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_committed_table_holds_what_the_page_says() -> None:
    report = RobustnessReport.model_validate_json((ROOT / "examples" / "robustness.json").read_text())
    assert all(target.met for target in report.targets), report.problems


def test_the_table_of_edited_runs_holds_what_the_page_says() -> None:
    report = RobustnessReport.model_validate_json((ROOT / "examples" / "tampered-runs.json").read_text())
    assert all(target.met for target in report.targets), report.problems


def test_cases_are_counted_and_problems_kept() -> None:
    recorder = Recorder()
    recorder.count("images", "a", "measured")
    recorder.count("images", "a", "lost", ["gone"])
    report = RobustnessReport(model="m", hardware="h", seed=0, tallies=recorder.tallies, not_tried=[])
    assert report.tried == report.ended == 2 and report.problems == ["a: gone"]
    met = {target.name: target.met for target in report.targets}
    assert not met["inputs lost"] and not met["kills after which the result is identical"]
    assert met["inputs and states"] and met["tracebacks shown"]


def test_a_difference_is_named() -> None:
    finding = {"id": "x", "verdict": "replicated", "score": 1.0}
    assert differences([finding], [finding]) == []
    assert differences([finding | {"score": 2.0}], [finding]) == ["x differs in score"]
    assert differences([], [finding]) == ["0 findings instead of 1"]


def test_what_hostile_input_would_leave_in_a_report_is_found(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    page = tmp_path / "report" / "a.html"
    page.write_text('<script src="assets/index.js"></script><p><img src="../images/x.png"></p>')
    (tmp_path / "report" / "findings.csv").write_text("id,path\nx,'=1\n")
    assert report_problems(tmp_path, "SECRET") == []
    page.write_text('<script>alert(1)</script><img src="x" onerror="y"><a href=" javascript:z">')
    (tmp_path / "report" / "findings.csv").write_text("id,path\nx,=1\n")
    (tmp_path / "image.png").write_bytes(b"..SECRET..")
    found = report_problems(tmp_path, "SECRET")
    assert [sum(part in one for one in found) for part in ("script", "onerror", "href", "formula", "metadata")] == [
        1
    ] * 5


def test_the_table_is_printed_with_its_denominators(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from imgaudit.cli import app

    recorder = Recorder()
    recorder.count("models", "pickled", "refused")
    recorder.leave_out("disk full", "no superuser")
    report = RobustnessReport(model="m", hardware="h", seed=0, tallies=recorder.tallies, not_tried=recorder.not_tried)
    (tmp_path / "t.json").write_text(json.dumps(report.model_dump(mode="json")))
    shown = CliRunner().invoke(app, ["benchmark", "robustness", "--table", str(tmp_path / "t.json")])
    assert shown.exit_code == 0, shown.output
    for part in ("pickled", "1 refused", "1 ended in one state", "not tried: disk full: no superuser", "MISSED kills"):
        assert part in shown.stdout
