"""The counts of a run, what is printed of controls that can find something and that cannot, and report.json."""

from pathlib import Path

import pytest

from imgaudit.benchmark.reports.run import make_run
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import NO_CONTROLS, Evidence
from imgaudit.io.writing import format_json
from imgaudit.report.wording import false_positive_text
from imgaudit.runs.conclusion import summarise, write_result
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.error_checks import TOO_FEW_TO_FIRE, RateInterval
from imgaudit.schema.findings import Summary
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Skipped
from tests.support.records import PROTOCOL, bank, measurement


def summary(controls: int) -> Summary:
    null = bank(controls) if controls else None
    decision = FolderDecision([measurement("a", 1.0, [(0.4, 0.4)])], Evidence(null, PROTOCOL, Policy()))
    return summarise([], decision, 1)


def test_a_rule_that_cannot_fire_has_no_rate_of_false_alarms() -> None:
    assert summary(18).false_positive == TOO_FEW_TO_FIRE
    assert summary(0).false_positive == Skipped(skipped=NO_CONTROLS)
    rate = summary(19).false_positive
    assert isinstance(rate, RateInterval) and 0 < rate.low < 0.05 < rate.high < 0.2
    assert "no image can be found significant" in false_positive_text(summary(18))
    assert "%" not in false_positive_text(summary(18)) and "(95 % interval)" in false_positive_text(summary(19))


@pytest.mark.parametrize(("controls", "fires"), [(7, False), (18, False), (19, True), (240, True)])
def test_older_reports_are_read_and_their_interval_is_dropped_where_nothing_can_fire(
    controls: int, fires: bool
) -> None:
    older = summary(19).model_dump(mode="json")
    del older["false_positive"]
    older |= {"controls": controls, "false_positive_low": 0.01, "false_positive_high": 0.2}
    expected = RateInterval(low=0.01, high=0.2) if fires else TOO_FEW_TO_FIRE
    assert Summary.model_validate(older).false_positive == expected


def test_a_result_is_written_in_pieces_as_it_would_be_in_one(tmp_path: Path) -> None:
    made, run = make_run(tmp_path / "run", 4, side=16), RunFolder(tmp_path / "run")
    # A line separator in a name is no end of a line.
    named = [one.model_copy(update={"path": f"{one.path}\u2028"}) for one in made.findings]
    for result in (made.model_copy(update={"findings": named}), made.model_copy(update={"findings": []})):
        write_result(run, result)
        assert run.report_path.read_text(encoding="utf-8") == format_json(result.model_dump(mode="json"))
        assert read_result(run) == result
