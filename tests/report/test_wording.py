"""Wording of reports: every value that a run can hold has words, and none says more than was measured."""

import re
from pathlib import Path
from typing import get_args

import pytest

from imgaudit.cli.terminal import print_result
from imgaudit.report.glossary import read_glossary
from imgaudit.report.pages import NOT_SEALED
from imgaudit.report.wording import CORRECTION_WORDING, blind_comparison_text, controls_text, level_text
from imgaudit.runs import seal
from imgaudit.schema.error_checks import ForcingCheck
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.policy import Policy
from tests.support.wrapping import unwrap


def test_every_correction_has_a_name_in_words() -> None:
    assert set(CORRECTION_WORDING) == set(get_args(Policy.model_fields["correction"].annotation))
    assert not [words for words in CORRECTION_WORDING.values() if "_" in words or "-" in words]


def test_a_comparison_without_the_model_is_told_with_its_purpose(
    result: AuditResult, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = "targets and controls without the model: images were compared: 3 targets and 9 controls"
    summary = result.summary.model_copy(update={"blind_comparison": compared})
    text = blind_comparison_text(summary)
    assert text.startswith("Controls are a fair comparison only if")
    assert "without the model: images were compared: 3 targets and 9 controls. Where" in text
    print_result(result.model_copy(update={"summary": summary}))
    assert text in unwrap(capsys.readouterr().out), "the terminal says what pages say"
    assert blind_comparison_text(summary.model_copy(update={"blind_comparison": None})) == ""


ROOT = Path(__file__).parents[2]


def test_controls_are_described_in_one_way_everywhere() -> None:
    wrong = re.compile(
        r"(believed|known)\s+not\s+to\s+(be|have been)\s+(in|memorised)|cannot\s+be\s+in\s+the\s+training"
    )
    files = [*ROOT.glob("imgaudit/**/*.py"), *ROOT.glob("imgaudit/**/*.jinja"), *ROOT.glob("docs/**/*.md")]
    told = {file: file.read_text(encoding="utf-8") for file in files}
    assert [file.name for file, text in told.items() if wrong.search(re.sub(r'"\s*f?"', "", text))] == []
    assert "cannot have been in the training set, as far as its owner knows" in read_glossary()["control"]


def test_the_level_is_worded_in_one_way() -> None:
    assert level_text(0.05) in read_glossary()["level"]
    assert level_text(0.05) in (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")


def test_a_run_without_a_seal_is_described_in_one_way_and_the_glossary_does_not_contradict_it() -> None:
    assert NOT_SEALED.removeprefix("none: the run") in seal.NOT_SEALED
    assert "fixed before" not in read_glossary()["policy"] and "only a timestamp" in read_glossary()["seal, sealed"]


def test_it_is_told_how_many_controls_count_and_what_the_others_do(result: AuditResult) -> None:
    check = ForcingCheck(n=80, copies=0, significant=3, called=0)
    counted = {"controls": 240, "control_files": 320, "control_works": 320, "forcing": check}
    said = controls_text(result.summary.model_copy(update=counted))
    assert said == "320 control files; of these, 240 count in p-values and thresholds, 80 only check the rule"
    counted |= {"control_files": 330, "controls": 239}
    said = controls_text(result.summary.model_copy(update=counted))
    assert "330 control files are 320 works" in said and said.endswith(
        "1 left out, as too like an image that was audited"
    )
    assert controls_text(result.summary.model_copy(update={"controls": 0, "control_files": None})) == ""
