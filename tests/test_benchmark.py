import numpy as np
import pytest

from imgaudit.benchmark.detection import Group, detection_report, group_of
from imgaudit.lab.corpus import Role
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.records import Finding
from imgaudit.verdict import Evidence, decide
from tests.conftest import tiny_recipe
from tests.records_for_tests import PROTOCOL, bank, digest, measurement

COPY, MISS = (0.99, 0.05), (0.4, 0.4)


def image(name: str, role: Role, repeats: int = 0, reproduced: int = 0) -> LabImage:
    return LabImage(
        file_name=name, sha256=digest(name), text=name, role=role, repeats=repeats, exposures=repeats,
        exact_exposures=repeats, nearest_training_image="x", nearest_similarity=0.1, reproduced=reproduced,
        truth_measured=role in ("planted", "seen_once"),
    )  # fmt: skip


@pytest.fixture
def lab() -> LabDescription:
    images = [image(f"m{n}", "planted", 100, 60) for n in range(10)]
    images += [image(f"p{n}", "planted", 5, 3) for n in range(5)]
    images += [image(f"s{n}", "seen_once", 1) for n in range(8)]
    images += [image(f"h{n}", "held_out") for n in range(20)]
    return LabDescription(recipe=tiny_recipe(), images=images)


def findings(scores: dict[str, float], lab: LabDescription) -> tuple[list[Finding], list]:  # type: ignore[type-arg]
    measured = [
        measurement(i.file_name, scores[i.file_name[0]], [COPY if i.file_name[0] == "m" else MISS] * 8, [MISS] * 8)
        for i in lab.images
    ]
    return decide(measured, Evidence(bank(199), PROTOCOL, 0.05)), measured


def test_groups_are_the_labs_own_truth(lab: LabDescription) -> None:
    counts = {group: sum(group_of(i) is group for i in lab.images) for group in Group}
    assert list(counts.values()) == [10, 5, 8, 20]


def test_a_perfect_detector_meets_every_target_and_keeps_the_denominators(lab: LabDescription) -> None:
    found, measured = findings({"m": 3.0, "p": 0.2, "s": 0.2, "h": 0.2}, lab)
    report = detection_report(found, measured, bank(199), lab, level=0.05, seed=1)
    area = report.separations[0]
    assert (area.auc, area.positives, area.negatives) == (1.0, 10, 20) and area.low < 1
    rates = {(r.name, r.group): r for r in report.rates}
    memorised = rates["verdict: replicated, any rung", Group.MEMORISED]
    assert (memorised.hits, memorised.n) == (10, 10)
    assert rates["verdict: replicated, any rung", Group.HELD_OUT].n == 20
    assert rates["any copy, caption", Group.SEEN_ONCE].hits == 0
    by_repeats = {(r.name, r.group): r for r in report.by_repeats}
    assert by_repeats["memorised (truth)", "100 repeats"].hits == 10
    assert by_repeats["memorised (truth)", "5 repeats"].hits == 0
    assert np.all([target.met for target in report.targets[1:]])


def test_a_blind_detector_misses_its_targets(lab: LabDescription) -> None:
    found, measured = findings(dict.fromkeys("mpsh", 0.2), lab)
    report = detection_report(found, measured, bank(199), lab, level=0.05, seed=1)
    assert report.separations[0].auc == 0.5
    missed = [target.name for target in report.targets if not target.met]
    assert missed == ["AUC, memorised against held out, lower bound", "replication found among memorised"]


def test_an_image_without_a_score_leaves_that_scores_denominator(lab: LabDescription) -> None:
    found, measured = findings({"m": 3.0, "p": 0.2, "s": 0.2, "h": 0.2}, lab)
    blank = measurement("h0", 0.2, [], [MISS] * 8, invalid=8)
    measured = [blank if m.id == blank.id else m for m in measured]
    report = detection_report(found, measured, bank(199), lab, level=0.05, seed=1)
    negatives = {(s.name, s.against): s.negatives for s in report.separations}
    assert negatives["best similarity, embedding", Group.HELD_OUT] == 19
    assert negatives["best similarity, caption", Group.HELD_OUT] == 20
