"""The copy descriptor as a leg of decisions: calibrated on controls, and of no effect without them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.decision.controls import make_control
from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.joint_test import JointTest
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence, deciding_p_value
from imgaudit.decision.verdict import conclude_folder
from imgaudit.report.wording import standing
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


def described(
    name: str, similarities: Sequence[float], log_ratio: float = 2.0, pixels: Sequence[tuple[float, float]] = ()
) -> Measurement:
    """Return a target whose replicas are as given by the copy descriptor, and by pixels unlike it if not given."""
    pixels = pixels or [UNLIKE] * len(similarities)
    plain = measurement(name, log_ratio, pixels, pixels)
    rungs: dict[Rung, Any] = {}
    for rung, measured in plain.rungs.items():
        if isinstance(measured, RungMeasurement):
            replicas = [
                replace(replica, similarity={"pixel": pixel, "pdq": 0.5, "sscd": value})
                for replica, value, (pixel, _) in zip(measured.replicas, similarities, pixels, strict=True)
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
        # The descriptor does not tell a copy of the whole from one of a part, and the pixels tell no copy.
        assert finding.verdict is (Verdict.PARTIAL if legs == "either" else Verdict.REPLICATED)
        [caption] = [one for one in finding.replication if one.rung is Rung.CAPTION]
        assert (caption.hits, caption.by_descriptor) == (8, 8)
        # By pixels the highest control is as high in every leg, and so as strong as the target by both.
        assert caption.p_value == pytest.approx((1 if legs == "descriptor" else 2) / 200)
        assert isinstance(caption.thresholds, dict) and caption.thresholds["copy_similarity"] == pytest.approx(
            0.39, 0.01
        )
        assert deciding_p_value(caption) == caption.p_value
        assert caption.partly_stands == caption.at_least_a_part == (legs == "either")
        assert find_deciding_number(finding, 0.05).value == max(finding.q_value, caption.p_value)  # type: ignore[type-var]


def test_what_the_descriptor_alone_finds_is_at_least_a_part() -> None:
    finding = decide_one(described("shifted", [0.9] * 8), "either")
    assert "the copy descriptor finds this image, or a part of it, in 8 of 8 generated images" in finding.reason
    assert "By its pixels, none of them is a copy of the whole." in finding.reason
    [caption] = [one for one in finding.replication if one.rung is Rung.CAPTION]
    assert caption.stands and not caption.whole_stands and standing(caption) == "in part"


def test_one_copy_by_pixels_makes_the_claim_one_of_the_whole() -> None:
    target = described("shifted", [0.9] * 8, pixels=[(0.85, 0.2)] + [UNLIKE] * 7)
    finding = decide_one(target, "either")
    assert finding.verdict is Verdict.REPLICATED
    [caption] = [one for one in finding.replication if one.rung is Rung.CAPTION]
    assert (caption.hits, caption.by_descriptor, caption.at_least_a_part) == (8, 7, False)


def test_near_identical_pixels_show_the_whole_whatever_told_the_copies() -> None:
    # Controls as near as this one keep the pixels' thresholds out of reach, but not the absolute standard.
    target = described("near", [0.9] * 8, pixels=[(0.95, 0.1)] * 8)
    others = described_bank()
    near = [replace(seed, similarity=0.99, distance=0.01) for seed in others.controls[0].rungs[Rung.EMBEDDING]]
    spoilt = [
        one if number % 5 else one.model_copy(update={"rungs": dict.fromkeys(one.rungs, near)})
        for number, one in enumerate(others.controls)
    ]
    measured = [target, *(described(f"other {number}", [0.1] * 8) for number in range(30))]
    bank_of_near = others.model_copy(update={"controls": spoilt})
    alike = np.where(np.eye(len(measured), dtype=bool), 0.95, 0.2)
    evidence = Evidence(
        bank_of_near, PROTOCOL, Policy(legs="either"), copy_descriptor=SOURCE,
        cross_matches={Rung.CAPTION: CrossMatches([one.id for one in measured], alike)},
    )  # fmt: skip
    finding = conclude_folder(FolderDecision(measured, evidence))[0]
    [caption] = [one for one in finding.replication if one.rung is Rung.CAPTION]
    assert finding.verdict is Verdict.REPLICATED and caption.near_identical == 8 and not caption.at_least_a_part


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
