"""The benchmark of verification: a run is made larger and stays sound, and the figures follow from the table."""

import shutil
from pathlib import Path

import pytest

from imgaudit.benchmark.settings import VerificationSettings
from imgaudit.benchmark.verification import bench
from imgaudit.benchmark.verification.enlarged_run import enlarge_run
from imgaudit.benchmark.verification.stage import Verified
from imgaudit.exceptions import InputError
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification import verify_run
from tests.support.finished_run import run
from tests.support.tampering import edit_records, measured
from tests.support.wrapping import unwrap

__all__ = ["run"]


def test_an_enlarged_run_verifies_and_one_number_edited_in_it_does_not(run: RunFolder, tmp_path: Path) -> None:
    enlarge_run(run.path, tmp_path / "large", 10, lambda done, total: None)
    larger = RunFolder(tmp_path / "large")
    outcome = verify_run(larger)
    assert outcome.problems == [] and outcome.findings == 10

    def edit(records: list[dict[str, dict[str, float]]]) -> None:
        measured(records, 7)["features"]["red"] += 0.1

    edit_records(larger, edit)
    assert verify_run(larger).problems
    with pytest.raises(InputError, match="gives runs of 1 to 96 images"):
        enlarge_run(run.path, tmp_path / "larger", 97, lambda done, total: None)


def test_time_and_memory_are_printed_beside_their_goals(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = Verified(seconds=5.0, cpu_seconds=4.0, imported=2**29, peak=2**30, problems=0, files=70)
    monkeypatch.setattr(bench, "verify_in_process", lambda folder: verified)
    settings = VerificationSettings(run=run.path, count=3, repeats=2, out=tmp_path)
    table = bench.measure_verification(settings, lambda *_: None)
    table = table.model_copy(update={"audit_seconds": [99.0, 100.0, 101.0], "images": 2})
    lines = unwrap(" ".join(bench.format_verification(table)))
    assert "200 s to measure the images" in lines and "1/40.0 of the audit (1/39.0 to 1/41.0)" in lines
    assert "1,024 MiB at most, of which 512 MiB are imports" in lines and "MISSED" not in lines
    # Met by the end of the interval that could fall short: 10 s are 1/20 of the mean, and more of its lower end.
    slow = table.model_copy(update={"verified": [verified.model_copy(update={"seconds": 10.0, "peak": 2**30 + 1})]})
    lines = unwrap(" ".join(bench.format_verification(slow)))
    assert "MISSED time of verification: wanted at most 1/20 of the audit, got at most 1/19.5" in lines
    assert "MISSED peak memory" in lines and "met problems in a sound run" in lines
    shutil.rmtree(tmp_path / "verification-3")
    with pytest.raises(InputError, match="--run is needed"):
        bench.measure_verification(VerificationSettings(out=tmp_path), lambda *_: None)
