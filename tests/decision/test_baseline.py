"""Scores against different baselines are never compared, and a note says which one was used."""

from pathlib import Path

import pytest

from imgaudit.decision.null_bank import UNSCORED_CONTROLS, NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.exceptions import CalibrationError
from imgaudit.schema.baseline import Baseline
from imgaudit.schema.findings import AlarmCode, AlarmEffect, Finding
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import ErrorMeasurement, Measurement, Skipped
from tests.support.records import PROTOCOL, bank, measurement

COPY = (0.97, 0.01)


def scored(name: str, log_ratio: float, baseline: Baseline, seed: tuple[float, float] = COPY) -> Measurement:
    made = measurement(name, log_ratio, [seed] * 4)
    assert isinstance(made.error, ErrorMeasurement)
    return made.model_copy(update={"error": made.error.model_copy(update={"baseline": baseline})})


def with_baseline(original: NullBank, baseline: Baseline) -> NullBank:
    return original.model_copy(
        update={"controls": [one.model_copy(update={"baseline": baseline}) for one in original.controls]}
    )


def conclude(target: Measurement, null: NullBank) -> Finding:
    [finding] = decide([target], Evidence(null, PROTOCOL, Policy()))
    return finding


def test_a_score_against_the_start_is_ranked_among_controls_and_a_note_says_so() -> None:
    null = with_baseline(bank(199), "start")
    finding = conclude(scored("a", 99.0, "start"), null)
    assert finding.score_p_value == 1 / 200
    [alarm] = [one for one in finding.alarms if one.code is AlarmCode.NO_NULL_BRANCH]
    assert alarm.effect is AlarmEffect.WARNS
    assert "compared with the empty prompt that inversions start from" in alarm.message
    assert not conclude(scored("a", 99.0, "null"), bank(199)).alarms


@pytest.mark.parametrize("own", ["null", "start"])
def test_an_image_is_never_compared_with_controls_of_another_baseline(own: Baseline) -> None:
    other: Baseline = "null" if own == "start" else "start"
    with pytest.raises(CalibrationError, match="their scores cannot be compared; calibrate again"):
        conclude(scored("a", 2.0, own), with_baseline(bank(199), other))


def test_a_bank_of_two_baselines_is_refused(tmp_path: Path) -> None:
    null = bank(30)
    mixed = [null.controls[0].model_copy(update={"baseline": "start"}), *null.controls[1:]]
    null.model_copy(update={"controls": mixed}).write(tmp_path / "bank.json")
    with pytest.raises(CalibrationError, match="scored against different baselines: calibrate again"):
        NullBank.read(tmp_path / "bank.json")
    with pytest.raises(CalibrationError, match="scored against different baselines"):
        null.merge(with_baseline(bank(30), "start"))


def test_the_baseline_survives_the_file_and_is_not_written_where_it_is_the_null(tmp_path: Path) -> None:
    path = tmp_path / "bank.json"
    bank(30).write(path)
    assert "baseline" not in path.read_text() and NullBank.read(path).baselines == {"null"}
    with_baseline(bank(30), "start").write(path)
    assert NullBank.read(path).baselines == {"start"}


def test_controls_without_a_score_leave_the_score_out_and_copies_in() -> None:
    """Banks of distilled models that older versions made: a score would rank above all of them."""
    null = bank(199)
    unscored = [one.model_copy(update={"log_ratio": Skipped(skipped="no null branch")}) for one in null.controls]
    old = null.model_copy(update={"controls": unscored})
    with pytest.raises(CalibrationError, match="only those of one have scores"):
        old.merge(null)
    finding = conclude(scored("a", 99.0, "start"), old)
    assert finding.score == finding.score_p_value == UNSCORED_CONTROLS
    [alarm] = [one for one in finding.alarms if one.code is AlarmCode.NO_NULL_BRANCH]
    assert "calibrate again; copies alone are compared" in alarm.message
    p_value = conclude(scored("b", 99.0, "start", (0.1, 0.5)), old).p_value
    assert isinstance(p_value, float) and p_value > 0.5, "a high score alone says nothing here"
