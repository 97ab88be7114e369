"""Manifest, report and null bank that contradict each other are found, although evidence.json agrees."""

from collections.abc import Callable
from typing import Any

import pytest

from imgaudit.runs.folder import RunFolder
from imgaudit.schema.policy import Policy
from tests.support.tampering import edit_json, problems


def test_what_agreement_cannot_tell_is_said(copy: RunFolder) -> None:
    from imgaudit.runs.verification import verify_run

    outcome = verify_run(copy)
    assert outcome.matches
    [check] = [one for one in outcome.checks if one.name == "agreement"]
    assert "calibration.json were compared in" in check.done and "rewrote records, manifest, bank" in check.not_done[0]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda run: run["model"].update(name="another"), "another 'model' than manifest.json: 'name'"),
        (lambda run: run.update(operator="Somebody"), "another 'operator' than manifest.json: 'Somebody' and ''"),
        (lambda run: run.update(started="2020-01-01T00:00:00Z"), "another 'started'"),
        (lambda run: run.pop("targets"), "lacks 'targets'"),
        (lambda run: run.update(expert="Dr X"), "has 'expert'"),
        (lambda run: run["targets"].pop(), "another 'targets' than manifest.json: its entries differ"),
    ],
)
def test_a_report_that_names_something_else_than_the_manifest_is_found(
    copy: RunFolder, change: Callable[[Any], object], found: str
) -> None:
    edit_json(copy, "report.json", lambda content: change(content["run"]))
    assert any(found in problem for problem in problems(copy, "agreement"))


def test_a_policy_with_a_stale_hash_is_found(copy: RunFolder) -> None:
    edit_json(copy, "manifest.json", lambda content: content["policy"].update(level=0.4))
    edit_json(
        copy,
        "report.json",
        lambda content: (content["policy"].update(level=0.4), content["run"]["policy"].update(level=0.4)),
    )
    assert "'manifest.json': policy_hash is not the hash of its policy" in problems(copy, "agreement")


def test_a_policy_other_than_the_one_fixed_before_must_be_said(copy: RunFolder) -> None:
    edit_json(copy, "report.json", lambda content: content["policy"].update(level=0.4))
    [problem] = problems(copy, "agreement")
    assert "does not say by which policy it was decided: level" in problem
    assert Policy().level != 0.4


def test_a_protocol_with_a_stale_hash_is_found(copy: RunFolder) -> None:
    edit_json(copy, "manifest.json", lambda content: content["protocol"]["error"].update(draws=32))
    found = problems(copy, "agreement")
    assert "'manifest.json': protocol_hash is not the hash of its protocol" in found
    assert "'report.json' has another protocol than manifest.json" in found


def test_a_seed_or_operator_unlike_the_configuration_is_found(copy: RunFolder) -> None:
    edit_json(copy, "manifest.json", lambda content: content.update(seed=7, operator="X"))
    found = "\n".join(problems(copy, "agreement"))
    assert "seed is 7, and its configuration says 0" in found and "operator is 'X'" in found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda bank: bank.update(model_fingerprint="0" * 64), "was made with model"),
        (lambda bank: bank["protocol"]["generation"].update(seeds=99), "under another protocol"),
        (lambda bank: bank.update(controls=bank["controls"][::2]), "controls that its sources name"),
        (lambda bank: bank["controls"].append(bank["controls"][0]), "lists a control twice"),
        (lambda bank: bank["sources"][0].update(sha256s=[]), "that its sources do not name"),
        (lambda bank: bank.update(controls=7), "is not a null bank"),
    ],
)
def test_a_null_bank_of_another_run_or_with_fewer_controls_is_found(
    copy: RunFolder, change: Callable[[Any], object], found: str
) -> None:
    edit_json(copy, "calibration.json", change)
    assert any("calibration.json" in one and found in one for one in problems(copy, "agreement"))


def test_a_bank_that_was_halved_consistently_changes_what_is_printed(copy: RunFolder) -> None:
    def halve(bank: Any) -> None:
        bank["controls"] = bank["controls"][::2]
        kept = [one["sha256"] for one in (*bank["controls"], *bank["kept_out"])]
        bank["sources"][0]["sha256s"] = sorted(kept)

    edit_json(copy, "calibration.json", halve)
    assert problems(copy, "agreement") == []
    assert any("report.json" in problem for problem in problems(copy, "verdicts"))
