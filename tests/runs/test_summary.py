"""The counts of a run, and what is printed of controls that can find something and that cannot."""

import itertools

import pytest

from imgaudit.decision.controls_needed import describe_controls_used
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import NO_CONTROLS, Evidence
from imgaudit.decision.verdict import conclude_folder, conclude_skipped
from imgaudit.report.wording import false_positive_text
from imgaudit.runs.summary import summarise
from imgaudit.schema.error_checks import TOO_FEW_TO_FIRE, RateInterval
from imgaudit.schema.findings import Summary, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Skipped, SkippedImage
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


def test_every_finding_is_counted_once_and_in_any_order() -> None:
    targets = [measurement(f"t{n}", 0.3 * n, [(0.1 * n, 0.4)] * 8, [(0.4, 0.4)] * 8) for n in range(4)]
    decision = FolderDecision(targets, Evidence(bank(99), PROTOCOL))
    skipped = conclude_skipped(SkippedImage(path="a.png", skipped="it is no image"))
    # 0.1 + 0.2 + 0.3 is 0.6 only where the sum is exact before it is rounded.
    findings = [
        one.model_copy(update={"seconds": seconds, "network_evaluations": 7})
        for one, seconds in zip(conclude_folder(decision), (0.1, 0.2, 0.3, 0.0), strict=True)
    ]
    expected = {verdict: sum(one.verdict is verdict for one in [*findings, skipped]) for verdict in Verdict}
    for order in itertools.permutations([*findings, skipped]):
        summary = summarise(order, decision, 6)
        assert (summary.targets, summary.counts, summary.seconds) == (6, expected, 0.6)
        assert summary.network_evaluations == 28
        assert summary.planner == describe_controls_used(99, list(order), decision.policy.level)
