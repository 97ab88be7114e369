"""Wording of reports: every value that a run can hold has words, and none says more than was measured."""

from typing import get_args

from imgaudit.report.wording import CORRECTION_WORDING, blind_comparison_text
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.policy import Policy


def test_every_correction_has_a_name_in_words() -> None:
    assert set(CORRECTION_WORDING) == set(get_args(Policy.model_fields["correction"].annotation))
    assert not [words for words in CORRECTION_WORDING.values() if "_" in words or "-" in words]


def test_a_comparison_without_the_model_is_told_with_its_purpose(result: AuditResult) -> None:
    compared = "targets and controls without the model: images were compared: 3 targets and 9 controls"
    summary = result.summary.model_copy(update={"blind_comparison": compared})
    text = blind_comparison_text(summary)
    assert text.startswith("Controls are a fair comparison only if")
    assert "without the model: images were compared: 3 targets and 9 controls. Where" in text
    assert blind_comparison_text(summary.model_copy(update={"blind_comparison": None})) == ""
