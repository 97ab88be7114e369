"""What is said of the controls after an audit never contradicts what it found."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.decision.controls_needed import describe_controls_used, describe_outcome
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_skipped, decide
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import SkippedImage
from imgaudit.statistics import q_values
from tests.support.records import PROTOCOL, bank, measurement

COPY, MISS = (0.99, 0.05), (0.4, 0.4)


@given(
    controls=st.integers(1, 600),
    targets=st.integers(1, 60),
    level=st.sampled_from([0.01, 0.05, 0.1]),
    found=st.integers(0, 60),
)
def test_no_more_are_asked_for_than_were_found(controls: int, targets: int, level: float, found: int) -> None:
    strongest = [1 / (controls + 1)] * min(found, targets) + [1.0] * (targets - min(found, targets))
    really = sum(q <= level for q in q_values(strongest))
    said = describe_outcome(controls, targets, level, really)
    assert said.startswith(f"{really} of {targets} image")
    asked = re.search(r"at least (\d+)", said)
    if really:
        assert asked is None or int(asked[1]) <= really
        assert "too few" not in said and "add" not in said


@pytest.mark.parametrize("found", [1, 5])
def test_fewer_than_planned_are_enough_where_they_were_found(found: int) -> None:
    assert describe_outcome(20, 24, 0.05, found).endswith("20 controls are enough to show so many")


def test_near_copies_and_files_that_were_not_measured_are_left_out() -> None:
    targets = [measurement(f"s{n}", 2.0, [COPY] * 8) for n in range(3)] + [measurement("w", 0.1, [MISS] * 8)]
    groups = [[targets[0].id, targets[1].id]]
    pairs = {targets[0].id: [(targets[1].id, 0.95)], targets[1].id: [(targets[0].id, 0.95)]}
    findings = decide(targets, Evidence(bank(199), PROTOCOL, Policy(), pairs, groups))
    findings.append(conclude_skipped(SkippedImage(path="/x/broken.png", skipped="the file is no image")))
    said = describe_controls_used(199, findings, 0.05)
    assert said == "2 of 3 images stand out at q = 0.05; 199 controls are enough to show one alone"
    assert describe_controls_used(0, findings, 0.05).startswith("no controls, so no p-values")
