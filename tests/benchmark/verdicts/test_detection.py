from pathlib import Path
from types import SimpleNamespace

import pytest

from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, group_of, load_cases, locate
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import ignore_stage
from imgaudit.benchmark.harness.score_table import ScoreTable
from imgaudit.benchmark.harness.scoring import control_rows, score_rows
from imgaudit.benchmark.settings import VerdictBenchmarkSettings
from imgaudit.benchmark.verdicts import detection
from imgaudit.benchmark.verdicts.detection import DetectionReport, format_detection, report_detection
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import Role
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Measurement, Skipped
from tests.conftest import tiny_recipe
from tests.support.records import PROTOCOL, bank, curve, digest, measurement

COPY, MISS = (0.99, 0.05), (0.4, 0.4)


def image(name: str, role: Role, repeats: int = 0, reproduced: int = 0) -> LabImage:
    return LabImage(
        file_name=name, sha256=digest(name), text=name, role=role, repeats=repeats, exposures=repeats,
        exact_exposures=repeats, nearest_training_image="x", nearest_similarity=0.1, reproduced=reproduced,
        truth_seeds=64 if role in ("planted", "seen_once") else 0,
    )  # fmt: skip


@pytest.fixture
def lab() -> LabDescription:
    images = [image(f"m{n}", "planted", 100, 60) for n in range(10)]
    images += [image(f"p{n}", "planted", 5, 3) for n in range(5)]
    images += [image(f"s{n}", "seen_once", 1) for n in range(8)]
    images += [image(f"h{n}", "held_out") for n in range(20)]
    return LabDescription(recipe=tiny_recipe(), background_images=0, images=images)


def measure(scores: dict[str, float], lab: LabDescription) -> list[Measurement]:
    return [
        measurement(i.file_name, scores[i.file_name[0]], [COPY if i.file_name[0] == "m" else MISS] * 8, [MISS] * 8)
        for i in lab.images
    ]


NONE = Skipped(skipped="no caption was given")


def table_of(measured: list[Measurement], lab: LabDescription, null: NullBank | None = None) -> ScoreTable:
    null = null or bank(199)
    findings = decide(measured, Evidence(null, PROTOCOL, Policy()))
    return ScoreTable(
        lab="tiny", model_fingerprint="f", protocol=PROTOCOL, seed=1, level=0.05, hardware="none",
        controls=control_rows(null, {}), rows=score_rows(findings, measured, null, lab),
    )  # fmt: skip


def report_of(scores: dict[str, float], lab: LabDescription) -> DetectionReport:
    return report_detection(table_of(measure(scores, lab), lab))


def test_groups_are_the_labs_own_truth(lab: LabDescription) -> None:
    counts = {group: sum(group_of(i) is group for i in lab.images) for group in Group}
    assert list(counts.values()) == [10, 5, 0, 8, 20]
    assert group_of(image("w", "withheld")) is Group.WITHHELD


def test_no_image_is_both_a_control_and_measured(lab: LabDescription) -> None:
    cases = choose_cases(lab, CaseCounts(controls=12, held_out=6, seen_once=3))
    assert [len(cases.controls), len(cases.measured)] == [12, 10 + 5 + 3 + 6]
    assert not {i.sha256 for i in cases.controls} & {i.sha256 for i in cases.measured}
    assert max(i.sha256 for i in cases.controls) < min(i.sha256 for i in cases.measured if i.role == "held_out")
    with pytest.raises(InputError, match="holds out 20 images, but 21 are needed"):
        choose_cases(lab, CaseCounts(controls=12, held_out=9))


def test_images_are_found_by_content_and_missing_ones_are_named(make_folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    located = locate(make_folder("corpus", [1, 2]))
    [_, second] = located
    known = image("renamed.png", "held_out").model_copy(update={"sha256": second})
    assert load_cases([known], located).targets[0].path == located[second]
    with pytest.raises(InputError, match="1 of 2 images of the lab are not in the folder given"):
        load_cases([known, image("gone.png", "planted")], located)


def test_a_score_table_survives_the_disk_and_gives_the_same_report(lab: LabDescription, tmp_path) -> None:  # type: ignore[no-untyped-def]
    table = table_of(measure({"m": 3.0, "p": 0.4, "s": 0.2, "h": 0.2}, lab), lab)
    table.write(tmp_path / "scores.json")
    again = ScoreTable.read(tmp_path / "scores.json")
    assert again == table and report_detection(again) == report_detection(table)


def test_a_perfect_detector_on_few_images_shows_no_goal_and_keeps_the_denominators(lab: LabDescription) -> None:
    report = report_of({"m": 3.0, "p": 0.2, "s": 0.2, "h": 0.2}, lab)
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
    assert not report.false_calls
    assert len(report.targets) == 5 and not any(target.met for target in report.targets), "so few images show no rate"


def test_a_blind_detector_misses_its_targets(lab: LabDescription) -> None:
    report = report_of(dict.fromkeys("mpsh", 0.2), lab)
    assert report.separations[0].auc == 0.5
    missed = [target.name for target in report.targets if not target.met]
    assert missed[0] == "AUC, memorised against held out"
    assert "replication found among memorised" in missed


def test_an_image_without_a_score_leaves_that_scores_denominator(lab: LabDescription) -> None:
    measured = measure({"m": 3.0, "p": 0.2, "s": 0.2, "h": 0.2}, lab)
    blank = measurement("h0", 0.2, [], [MISS] * 8, invalid=8)
    measured = [blank if m.id == blank.id else m for m in measured]
    report = report_detection(table_of(measured, lab))
    negatives = {(s.name, s.against): s.negatives for s in report.separations}
    assert negatives["best similarity, embedding", Group.HELD_OUT] == 19
    assert negatives["best similarity, caption", Group.HELD_OUT] == 20


def test_a_held_out_image_that_is_called_is_named_with_its_nearest_training_image(lab: LabDescription) -> None:
    table = table_of(measure({"m": 3.0, "p": 0.2, "s": 0.2, "h": 0.2}, lab), lab)
    memorised = table.of(Group.MEMORISED)[0]
    copied = {"rungs": memorised.rungs, "log_ratio": memorised.log_ratio, "nearest_similarity": 0.97}
    called = table.of(Group.HELD_OUT)[0].model_copy(update=copied)
    rows = [called if row.sha256 == called.sha256 else row for row in table.rows]
    [call] = report_detection(table.model_copy(update={"rows": rows})).false_calls
    assert called.sha256.startswith(call.sha256) and call.nearest_similarity == 0.97


def test_scores_under_captions_have_rows_of_their_own_where_they_were_measured(
    lab: LabDescription, tmp_path: Path
) -> None:
    plain = measure({"m": 0.2, "p": 0.2, "s": 0.2, "h": 0.2}, lab)
    scores = {"m": 3.0, "p": 0.2, "s": 0.2, "h": 0.2}
    names = {digest(i.file_name)[:16]: i.file_name for i in lab.images}
    measured = [
        one.model_copy(update={"caption_error": NONE if names[one.id] == "h0" else curve(scores[names[one.id][0]])})
        for one in plain
    ]
    null = bank(199)
    controls = [one.model_copy(update={"caption_log_ratio": n / 199}) for n, one in enumerate(null.controls)]
    table = table_of(measured, lab, null.model_copy(update={"controls": controls}))
    table.write(tmp_path / "scores.json")
    assert ScoreTable.read(tmp_path / "scores.json") == table
    assert [one.caption_log_ratio for one in table.controls] == [one.caption_log_ratio for one in controls]
    report = report_detection(table)
    areas = {(one.name, one.against): one for one in report.separations}
    found = areas["score under the caption", Group.HELD_OUT]
    assert (found.auc, found.positives, found.negatives) == (1.0, 10, 19)
    assert areas["score (log ratio, adjusted for complexity)", Group.HELD_OUT].auc == 0.5
    rates = {(one.name, one.group): one for one in report.rates}
    memorised, held_out = (rates["caption score p <= 0.05", group] for group in (Group.MEMORISED, Group.HELD_OUT))
    assert (memorised.hits, memorised.n, held_out.hits, held_out.n) == (10, 10, 0, 19)
    [goal] = [one for one in report.targets if one.name.startswith("AUC under the caption")]
    assert goal.wanted == "lower bound >= 0.97"
    text = "\n".join(format_detection(report))
    assert "score under the caption" in text and "caption score p <= 0.05" in text


def test_a_table_without_scores_under_captions_prints_what_it_printed(lab: LabDescription) -> None:
    report = report_of({"m": 3.0, "p": 0.2, "s": 0.2, "h": 0.2}, lab)
    assert "under the caption" not in "\n".join(format_detection(report))
    assert not any(one.name.startswith("caption score") for one in report.rates)
    assert len(report.separations) == 10


def test_a_table_says_what_errors_are_compared_with_where_it_is_not_the_null(lab: LabDescription) -> None:
    table = table_of(measure({"m": 2.0, "p": 0.5, "s": 0.5, "h": 0.5}, lab), lab)
    assert "baseline" not in table.model_dump(mode="json")
    sentence = "errors are compared with the empty prompt that inversions start from"
    assert sentence not in list(format_detection(report_detection(table)))
    report = report_detection(table.model_copy(update={"baseline": "start"}))
    assert sentence in list(format_detection(report))
    assert report.separations == report_detection(table).separations


def test_the_benchmark_takes_as_many_images_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    work = SimpleNamespace(framing=Framing.PAD, lab=SimpleNamespace(bank=None))
    monkeypatch.setattr(LabWork, "open", lambda settings, on_stage: work)
    monkeypatch.setattr(detection, "measure_scores", lambda work, protocol, *, counts, **given: counts)
    usual, fewer = VerdictBenchmarkSettings(), VerdictBenchmarkSettings(controls=40, held_out=9, seen_once=0)
    assert detection.PROCEDURE.measure(usual, ignore_stage) == CaseCounts()
    assert detection.PROCEDURE.measure(fewer, ignore_stage) == CaseCounts(40, 9, 0)
