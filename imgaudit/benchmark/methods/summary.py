"""Every method of the field on every lab that chose nothing, from the tables that are committed with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imgaudit.benchmark.harness.figures import Goal
from imgaudit.benchmark.harness.score_table import read_record
from imgaudit.benchmark.methods.invmm_scores import InvMMTable, invmm_report
from imgaudit.benchmark.methods.mitigations import MitigationTable, mitigation_report
from imgaudit.benchmark.methods.prompt_scores import PromptScoreTable, prompt_score_report
from imgaudit.benchmark.methods.trigger_search import TriggerTable, trigger_report
from imgaudit.exceptions import InputError
from imgaudit.models.loading import BUNDLED, bundled_lab
from imgaudit.schema.records import Record

CHOSE_DEFAULTS = ("fit", "flow-fit")
"""Labs on which settings were chosen: they report nothing."""


class MethodOutcome(Record):
    """What was hoped of one method on one lab, and what came of it."""

    lab: str
    """Lab model."""
    method: str
    """The method."""
    seed: int
    """Run seed."""
    command: str
    """What prints the whole table."""
    targets: list[Goal]
    """Goals and outcomes, each with its n and interval."""


def _prompts(path: Path) -> tuple[str, int, list[Goal]]:
    table = read_record(PromptScoreTable, path)
    return table.lab, table.seed, prompt_score_report(table).targets


def _invmm(path: Path) -> tuple[str, int, list[Goal]]:
    table = read_record(InvMMTable, path)
    return table.lab, table.seed, invmm_report(table).targets


def _triggers(path: Path) -> tuple[str, int, list[Goal]]:
    table = read_record(TriggerTable, path)
    return table.lab, table.seed, trigger_report(table).targets


def _mitigations(path: Path) -> tuple[str, int, list[Goal]]:
    table = read_record(MitigationTable, path)
    return table.lab, table.seed, mitigation_report(table).targets


METHODS: Mapping[str, Callable[[Path], tuple[str, int, list[Goal]]]] = {
    "prompt-detection": _prompts,
    "invmm": _invmm,
    "triggers": _triggers,
    "mitigations": _mitigations,
}
"""Benchmark command to what reads its table, which lies beside the lab under the command's name."""


def method_outcomes(labs: Sequence[str]) -> list[MethodOutcome]:
    """Outcomes of every method that was measured on these labs; no model is needed.

    labs:  bundled labs by name, or lab folders
    Raises InputError for a lab without such a table, or one that chose settings.
    """
    outcomes = []
    for lab in labs:
        folder = bundled_lab(lab) if lab in BUNDLED else Path(lab)
        there = {name: path for name in METHODS if (path := folder / f"{name}.json").is_file()}
        if not there:
            raise InputError(f"{lab!r} has no table of a method: expected one of {', '.join(METHODS)} (.json)")
        for name, path in there.items():
            own, seed, targets = METHODS[name](path)
            if own in CHOSE_DEFAULTS:
                raise InputError(f"settings were chosen on the lab {own!r}, so it reports nothing")
            command = f"imgaudit benchmark {name} --table {lab}/{name}.json"
            outcomes.append(MethodOutcome(lab=own, method=name, seed=seed, command=command, targets=targets))
    return outcomes
