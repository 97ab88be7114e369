"""Edits of calibration.json: the controls that every p-value and threshold comes from."""

import shutil
from typing import Any

from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun

NAME = "calibration.json"

EVERYBODY = tuple(Attacker)


def _halve(bank: Any) -> None:
    bank["controls"] = bank["controls"][::2]


def _lower_scores(bank: Any) -> None:
    for control in bank["controls"]:
        control["log_ratio"] -= 0.5


def _repeat_controls(bank: Any) -> None:
    bank["controls"] += bank["controls"]


def _fewer_controls(run: EditedRun) -> None:
    run.change(NAME, _halve)


def _other_fingerprint(run: EditedRun) -> None:
    def change(bank: Any) -> None:
        _halve(bank)
        bank["model_fingerprint"] = "0" * 64

    run.change(NAME, change)


def _other_protocol(run: EditedRun) -> None:
    def change(bank: Any) -> None:
        _halve(bank)
        bank["protocol"]["inversion"]["steps"] = 1000

    run.change(NAME, change)


def _other_scores(run: EditedRun) -> None:
    run.change(NAME, _lower_scores)


def _twice(run: EditedRun) -> None:
    run.change(NAME, _repeat_controls)


def _delete(run: EditedRun) -> None:
    (run.path / NAME).unlink()
    run.name(NAME)


def _of_other_run(run: EditedRun) -> None:
    """Take the controls of another audit: half of them, as they were measured there."""
    shutil.copy(run.other / NAME, run.path / NAME)
    run.change(NAME, lambda bank: bank.update(controls=bank["controls"][:40]))


EDITS = (
    Edit("bank: half of the controls, other fingerprint", _other_fingerprint, EVERYBODY),
    Edit("bank: half of the controls, other protocol", _other_protocol, EVERYBODY),
    Edit("bank: half of the controls", _fewer_controls, by_head=(Attacker.DECIDES,)),
    Edit("bank: lower scores of the controls", _other_scores, by_head=(Attacker.DECIDES,)),
    Edit("bank: every control twice", _twice, EVERYBODY),
    Edit("bank: controls of another run", _of_other_run, by_head=(Attacker.DECIDES,)),
    Edit("bank: deleted", _delete, by_head=(Attacker.DECIDES,)),
)
"""Edits of the null bank."""
