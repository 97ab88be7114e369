"""What is said of the controls after an audit never contradicts what it found."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.decision.controls_needed import (
    count_works_needed,
    describe_controls_needed,
    describe_controls_used,
    describe_outcome,
)
from imgaudit.decision.null_bank import count_bank_controls
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
    asked = re.search(r"(?:at least|only where) (\d+)", said)
    if really:
        assert asked is None or int(asked[1]) <= really
        assert "too few" not in said and "add" not in said


@pytest.mark.parametrize("found", [1, 5])
def test_fewer_than_planned_are_enough_where_they_were_found(found: int) -> None:
    assert describe_outcome(20, 24, 0.05, found).endswith("20 controls that count are enough to show so many")


def test_near_copies_and_files_that_were_not_measured_are_left_out() -> None:
    targets = [measurement(f"s{n}", 2.0, [COPY] * 8) for n in range(3)] + [measurement("w", 0.1, [MISS] * 8)]
    groups = [[targets[0].id, targets[1].id]]
    pairs = {targets[0].id: [(targets[1].id, 0.95)], targets[1].id: [(targets[0].id, 0.95)]}
    findings = decide(targets, Evidence(bank(199), PROTOCOL, Policy(), pairs, groups))
    findings.append(conclude_skipped(SkippedImage(path="/x/broken.png", skipped="the file is no image")))
    said = describe_controls_used(199, findings, 0.05)
    assert said == (
        "2 of 3 images stand out from the controls at the level 0.05; 199 controls that count are enough to show one "
        "alone"
    )
    assert describe_controls_used(0, findings, 0.05).startswith("no controls, so no p-values")


@given(st.integers(1, 3000))
def test_the_fewest_works_are_asked_for_that_give_so_many_controls(counting: int) -> None:
    works = count_works_needed(counting)
    assert count_bank_controls(works) >= counting
    assert works == counting or count_bank_controls(works - 1) < counting


def test_works_in_all_are_asked_for_where_a_part_of_them_does_not_count() -> None:
    for controls in (111, 131, 148):
        assert "159 must count, which takes 211 works in all" in describe_controls_needed(controls, 8, 0.05)
    assert describe_controls_needed(111, 8, 0.05, kept_out=False).endswith(": add 48")
    assert "enough" in describe_controls_needed(count_bank_controls(211), 8, 0.05)
