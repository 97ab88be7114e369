"""Every method of the field on every lab that chose nothing, from the tables that are committed with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from imgaudit.benchmark.harness.figures import Goal, format_goal
from imgaudit.benchmark.harness.lab_model import lab_folder
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.methods.invmm_scores import InvMMTable, report_invmm
from imgaudit.benchmark.methods.mitigation_report import report_mitigations
from imgaudit.benchmark.methods.mitigation_table import MitigationTable
from imgaudit.benchmark.methods.prompt_scores import PromptScoreTable, report_prompt_scores
from imgaudit.benchmark.methods.pruning import PruningTable, report_pruning
from imgaudit.benchmark.methods.trigger_search import TriggerTable, report_triggers
from imgaudit.benchmark.methods.word_weights import WordTable, report_word_weights
from imgaudit.benchmark.settings import MethodSettings
from imgaudit.exceptions import InputError
from imgaudit.schema.records import Record

CHOSE_DEFAULTS = ("fit", "flow-fit")
"""Labs on which settings were chosen: they report nothing."""


class MethodOutcome(Record):
    """The goals of one method on one lab, and whether they were met."""

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


class MethodOutcomes(Table):
    """All outcomes."""

    outcomes: list[MethodOutcome]
    """Lab by lab."""


MethodTable = TypeVar(
    "MethodTable", PromptScoreTable, WordTable, InvMMTable, TriggerTable, MitigationTable, PruningTable
)
Found = tuple[str, int, list[Goal]]


def _goals_of(kind: type[MethodTable], goals: Callable[[MethodTable], list[Goal]]) -> Callable[[Path], Found]:
    """Return what reads lab, seed and goals from a table of one kind."""

    def read(path: Path) -> Found:
        table = kind.read(path)
        return table.lab, table.seed, goals(table)

    return read


METHODS: Mapping[str, Callable[[Path], Found]] = {
    "prompt-detection": _goals_of(PromptScoreTable, lambda table: report_prompt_scores(table).targets),
    "word-weights": _goals_of(WordTable, lambda table: report_word_weights(table).targets),
    "invmm": _goals_of(InvMMTable, lambda table: report_invmm(table).targets),
    "triggers": _goals_of(TriggerTable, lambda table: report_triggers(table).targets),
    "pruning": _goals_of(PruningTable, lambda table: report_pruning(table).targets),
    "mitigations": _goals_of(MitigationTable, lambda table: report_mitigations(table).targets),
}
"""Benchmark command to what reads its table, which lies beside the lab under the command's name."""


def collect_outcomes(labs: Sequence[str]) -> list[MethodOutcome]:
    """Collect the outcomes of every method that was measured on these labs; no model is needed.

    labs:  bundled labs by name, or lab folders
    Raises InputError for a lab without such a table, or one that chose settings.
    """
    outcomes = []
    for lab in labs:
        folder = lab_folder(lab)
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


def format_outcomes(outcomes: Sequence[MethodOutcome]) -> Iterator[str]:
    """Format the goals of one method on one lab after the other."""
    for number, one in enumerate(outcomes):
        if number:
            yield ""
        yield f"{one.method} on the lab {one.lab}, seed {one.seed}"
        for goal in one.targets:
            yield from format_goal(goal, "  ")


def _measure(settings: MethodSettings, on_stage: OnStage) -> MethodOutcomes:
    return MethodOutcomes(outcomes=collect_outcomes(settings.labs))


PROCEDURE = record_procedure(MethodOutcomes, _measure, lambda table: table.outcomes, format_outcomes)
