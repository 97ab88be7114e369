"""A result is written in pieces, and decided without being kept."""

from pathlib import Path

from imgaudit.benchmark.reports.run import make_run
from imgaudit.io.writing import format_json
from imgaudit.runs.conclusion import decide_run, write_result
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Finding
from tests.support.finished_run import result, run

__all__ = ["result", "run"]


def test_a_result_is_written_in_pieces_as_it_would_be_in_one(tmp_path: Path) -> None:
    made, folder = make_run(tmp_path / "run", 4, side=16), RunFolder(tmp_path / "run")
    # A line separator in a name is no end of a line.
    named = [one.model_copy(update={"path": f"{one.path}\u2028"}) for one in made.findings]
    for written in (made.model_copy(update={"findings": named}), made.model_copy(update={"findings": []})):
        write_result(folder, written)
        assert folder.report_path.read_text(encoding="utf-8") == format_json(written.model_dump(mode="json"))
        assert read_result(folder) == written


def test_findings_can_be_taken_one_at_a_time_in_place_of_being_kept(run: RunFolder, result: AuditResult) -> None:
    taken: list[Finding] = []
    around = decide_run(run, on_finding=taken.append)
    assert taken == list(result.findings) and len(around.findings) == 0 < len(taken)
    assert around == result.model_copy(update={"findings": around.findings})
