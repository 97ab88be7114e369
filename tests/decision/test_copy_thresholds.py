"""The copy descriptor as a leg of decisions: calibrated on controls, and of no effect without them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from imgaudit.decision.controls import make_control
from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.joint_test import JointTest
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence, deciding_p_value
from imgaudit.decision.verdict import conclude_folder
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, Rung, RungMeasurement
from tests.support.records import PROTOCOL, bank, measurement

SOURCE = "sscd: test weights"
UNLIKE = (0.3, 0.4)
"""Pixels of a shifted copy: as far from the target as any other picture."""


def described_bank(count: int = 199) -> NullBank:
    """Return a bank whose controls' best similarity by the copy descriptor runs from 0.2 to 0.4."""
    plain = bank(count)
    controls = []
    for number, control in enumerate(plain.controls):
        value = 0.2 + 0.2 * number / count
        rungs = {
            rung: [replace(seed, copy_similarity=value if place == 0 else 0.1) for place, seed in enumerate(seeds)]
            for rung, seeds in control.rungs.items()
        }
        controls.append(control.model_copy(update={"rungs": rungs}))
    return plain.model_copy(update={"controls": controls, "copy_descriptor": SOURCE})


def described(name: str, similarities: Sequence[float], log_ratio: float = 2.0) -> Measurement:
    """Return a target whose replicas are unlike it by pixels, and as given by the copy descriptor."""
    plain = measurement(name, log_ratio, [UNLIKE] * len(similarities), [UNLIKE] * len(similarities))
    rungs: dict[Rung, Any] = {}
    for rung, measured in plain.rungs.items():
        if isinstance(measured, RungMeasurement):
            replicas = [
                replace(replica, similarity={"pixel": UNLIKE[0], "pdq": 0.5, "sscd": value})
                for replica, value in zip(measured.replicas, similarities, strict=True)
            ]
            measured = measured.model_copy(update={"replicas": replicas})
        rungs[rung] = measured
    return plain.model_copy(update={"rungs": rungs})


def decide_one(target: Measurement, legs: str, own_bank: NullBank | None = None, source: str = SOURCE) -> Finding:
    evidence = Evidence(
        own_bank or described_bank(), PROTOCOL, Policy.model_validate({"legs": legs}), copy_descriptor=source
    )
    return conclude_folder(FolderDecision([target], evidence))[0]


def test_a_copy_passes_by_pixels_or_by_the_descriptor() -> None:
    thresholds = CopyThresholds(similarity=0.9, distance=0.1, copy_similarity=0.5)
    assert thresholds.is_copy(0.95, 0.05) and thresholds.is_copy(0.1, 0.9, 0.6)
    assert not thresholds.is_copy(0.95, 0.2) and not thresholds.is_copy(0.1, 0.9, 0.5)
    both, alone = (thresholds.choose_legs(Policy(legs=legs)) for legs in ("both", "descriptor"))  # type: ignore[arg-type]
    assert not both.is_copy(0.1, 0.9, 0.6) and both.is_copy(0.95, 0.05, 0.1)
    assert alone.is_copy(0.1, 0.9, 0.6) and not alone.is_copy(1.0, 0.0, 0.1)
    assert "copy_similarity" not in CopyThresholds(similarity=0.9, distance=0.1).model_dump()


def test_the_threshold_is_what_a_share_of_controls_exceeds() -> None:
    thresholds = described_bank().thresholds(0.05)
    assert thresholds is not None and thresholds.copy_similarity is not None
    above = [one for one in described_bank().descriptor_maxima(Rung.EMBEDDING) if one > thresholds.copy_similarity]
    assert len(above) == 9 and bank(199).thresholds(0.05) == thresholds.model_copy(update={"copy_similarity": None})


def test_a_copy_that_pixels_miss_is_found_by_the_descriptor_alone() -> None:
    target = described("shifted", [0.9] * 8)
    assert decide_one(target, "both").verdict is Verdict.ATYPICAL
    for legs in ("either", "descriptor"):
        finding = decide_one(target, legs)
        assert finding.verdict is Verdict.REPLICATED
        [caption] = [one for one in finding.replication if one.rung is Rung.CAPTION]
        assert (caption.hits, caption.by_descriptor) == (8, 8)
        # By pixels the highest control is as high in every leg, and so as strong as the target by both.
        assert caption.p_value == pytest.approx((1 if legs == "descriptor" else 2) / 200)
        assert isinstance(caption.thresholds, dict) and caption.thresholds["copy_similarity"] == pytest.approx(
            0.39, 0.01
        )
        assert deciding_p_value(caption) == caption.p_value


def test_pictures_like_those_of_controls_are_no_copies() -> None:
    finding = decide_one(described("other", [0.3] + [0.1] * 7, log_ratio=0.5), "either")
    assert finding.verdict is Verdict.NOT_REPRODUCED
    assert all(one.hits == one.by_descriptor == 0 for one in finding.replication)


@pytest.mark.parametrize("source", ["", "sscd: other weights"])
def test_another_descriptor_than_the_controls_has_no_part(source: str) -> None:
    target = described("shifted", [0.9] * 8)
    either, both = decide_one(target, "either", source=source), decide_one(target, "both", source=source)
    assert either == both and either.verdict is Verdict.ATYPICAL


def test_a_bank_without_a_descriptor_decides_by_pixels() -> None:
    target = described("shifted", [0.9] * 8)
    assert decide_one(target, "either", bank(199)) == decide_one(target, "both", bank(199))


def test_the_joint_test_has_a_leg_for_every_rung_that_was_compared() -> None:
    target = make_control(described("shifted", [0.9] * 8, log_ratio=0.5))
    designs = {
        legs: JointTest(described_bank(), Policy.model_validate({"legs": legs})).design(target)
        for legs in ("both", "either", "descriptor")
    }
    rungs = (Rung.CAPTION, Rung.EMBEDDING)
    assert designs["both"].descriptor == () and designs["both"].pixels
    assert designs["either"].descriptor == rungs and designs["either"].pixels
    assert designs["descriptor"].descriptor == rungs and not designs["descriptor"].pixels
    p_values = [
        JointTest(described_bank(), Policy.model_validate({"legs": legs})).p_value(target)
        for legs in ("both", "either", "descriptor")
    ]
    assert isinstance(p_values[0], float) and p_values[0] > 0.2
    assert isinstance(p_values[1], float) and p_values[1] <= 0.02
    assert isinstance(p_values[2], float) and p_values[2] <= 0.02


def test_the_joint_test_is_valid_for_images_like_the_controls() -> None:
    """Every control against all others: p <= a for at most a share a of them."""
    whole = described_bank(99)
    p_values = []
    for control in whole.controls:
        others = whole.model_copy(update={"controls": [one for one in whole.controls if one is not control]})
        p_values.append(JointTest(others, Policy(legs="either")).p_value(control))
    for level in (0.05, 0.1, 0.3):
        assert sum(isinstance(p, float) and p <= level for p in p_values) <= level * 99 + 1e-9


def test_banks_of_two_networks_are_merged_without_a_descriptor() -> None:
    ours = described_bank(60)
    theirs = ours.model_copy(update={"copy_descriptor": "sscd-int8: other weights"})
    assert ours.merge(ours).copy_descriptor == SOURCE and ours.merge(theirs).copy_descriptor == ""
    assert ours.merge(theirs).descriptor_maxima(Rung.EMBEDDING) == []


def test_a_bank_keeps_its_descriptor_for_images_compared_by_the_same_alone() -> None:
    held = described_bank(60)
    assert held.compared_by(SOURCE) is held
    for other in ("", "sscd: other weights"):
        assert held.compared_by(other).descriptor_maxima(Rung.EMBEDDING) == []
        thresholds = held.compared_by(other).thresholds(0.05)
        assert thresholds is not None and thresholds.copy_similarity is None
