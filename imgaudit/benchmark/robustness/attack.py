"""Every attack in one report."""

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from imgaudit.benchmark.harness.figures import Goal, format_goals, measure_rate
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, ignore_stage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.robustness import damage, engine_kills, inputs, interruptions, reaching_outside
from imgaudit.benchmark.robustness.bench import Bench
from imgaudit.benchmark.robustness.layouts import family as layouts
from imgaudit.benchmark.robustness.tally import NotTried, Tally
from imgaudit.benchmark.robustness.tampering import counts, family
from imgaudit.benchmark.settings import RobustnessSettings
from imgaudit.exceptions import ConfigError
from imgaudit.schema.text import wrap_prose


class RobustnessReport(Table):
    """What was tried, how it ended, and whether anything happened that should not have."""

    long_lists = ("tallies",)

    model: str
    """Model under which everything was audited."""
    hardware: str
    """Machine, system and user's rights."""
    seed: int
    """Of every moment, size and place."""
    tallies: list[Tally]
    """One row per kind."""
    not_tried: list[NotTried]
    """What this machine does not allow."""
    family: str = ""
    """The one family that was tried; empty for all of them."""

    @property
    def tried(self) -> int:
        """Cases."""
        return sum(tally.tried for tally in self.tallies)

    @property
    def ended(self) -> int:
        """Cases that ended in a state."""
        return sum(sum(tally.states.values()) for tally in self.tallies)

    @property
    def problems(self) -> list[str]:
        """Everything that should not have happened."""
        return [f"{tally.kind}: {problem}" for tally in self.tallies for problem in tally.problems]

    @property
    def targets(self) -> list[Goal]:
        """Goals and outcomes."""
        kills = [tally for tally in self.tallies if tally.kind.startswith("killed while")]
        met = [state == "identical" for tally in kills for state, n in tally.states.items() for _ in range(n)]
        same = measure_rate("kills", "all stages", met)
        lost = sum(tally.states.get("lost", 0) for tally in self.tallies)
        ran = sum("executed" in problem for problem in self.problems)
        traced = sum("a traceback" in problem for problem in self.problems)
        return [
            Goal.exact("inputs and states", f"{self.tried}", f"{self.ended}", met=self.tried == self.ended),
            *([] if self.family else [
                Goal.exact("kills after which the result is identical", "all of at least 100", str(same),
                           met=all(met) and len(met) >= 100)]),
            Goal.exact("inputs lost", "0", str(lost), met=not lost),
            Goal.exact("hostile content executed", "0", str(ran), met=not ran),
            Goal.exact("tracebacks shown", "0", str(traced), met=not traced),
            Goal.exact("anything else unexpected", "0", str(len(self.problems)), met=not self.problems),
            *layouts.goals(self.tallies),
            *reaching_outside.goals(self.tallies),
            *counts.goals(self.tallies),
        ]  # fmt: skip


def attack(settings: RobustnessSettings, on_stage: OnStage = ignore_stage) -> RobustnessReport:
    """Try everything against audits of a model; what is written lies in a folder that is removed at the end.

    Raises RuntimeError when not even an undisturbed audit comes to its end.
    """
    with tempfile.TemporaryDirectory() as temporary:
        return _attack_in((settings.out or Path(temporary)) / "robustness", settings, on_stage)


def _attack_in(folder: Path, settings: RobustnessSettings, on_stage: OnStage) -> RobustnessReport:
    bench = Bench(settings.model, folder, Random(settings.seed))
    folder.mkdir(parents=True, exist_ok=True)
    whole = interruptions.audit_undisturbed(bench)
    stages: list[tuple[str, Callable[[], None]]] = [
        ("hostile images", lambda: inputs.audit_hostile_images(bench, settings.hostile_files)),
        (layouts.LAYOUTS, lambda: layouts.read_layouts(bench.recorder)),
        ("hostile caption tables", lambda: inputs.read_hostile_tables(bench)),
        ("hostile captions", lambda: inputs.audit_hostile_captions(bench)),
        ("hostile models", lambda: inputs.refuse_hostile_models(bench, settings.hostile_files)),
        ("connections", lambda: inputs.stay_offline(bench)),
        ("signals", lambda: interruptions.interrupt(bench, whole)),
        ("full disks", lambda: damage.fill_disk(bench, whole, settings.full_disks)),
        ("rights", lambda: damage.take_rights(bench, whole)),
        ("two audits at once", lambda: damage.audit_twice_at_once(bench, whole)),
        ("damaged records", lambda: damage.damage_records(bench, whole, settings.damaged_runs)),
        ("a moved run", lambda: damage.move_run(bench, whole)),
        ("little memory", lambda: damage.run_out_of_memory(bench, whole)),
        ("changing files", lambda: damage.change_files_meanwhile(bench, whole)),
        ("a sleeping machine", lambda: damage.stop_and_continue(bench, whole)),
        ("kills", lambda: interruptions.kill_at_random(
            bench, whole, settings.kills, partial(on_stage, "kills"))),
        (engine_kills.KILLED, lambda: engine_kills.kill_engines(
            bench, whole, settings.engine_kills, partial(on_stage, engine_kills.KILLED))),
        (reaching_outside.SECTION, lambda: reaching_outside.reach_outside(bench, whole, settings.hostile_runs)),
        (counts.TAMPERED, lambda: family.tamper(
            bench, settings.edited_runs, partial(on_stage, counts.TAMPERED))),
        # Last: it changes the times of the portfolio's files.
        ("a jumping clock", lambda: damage.jump_clock(bench, whole)),
    ]  # fmt: skip
    if settings.family is not None:
        stages = _choose(stages, settings.family)
    for number, (name, stage) in enumerate(stages):
        on_stage(name, number, len(stages))
        stage()
    report = RobustnessReport(
        model=settings.model, hardware=f"{describe_machine()}, {platform.system()}", seed=settings.seed,
        tallies=bench.recorder.tallies, not_tried=bench.recorder.not_tried, family=settings.family or "",
    )  # fmt: skip
    if not report.problems:
        shutil.rmtree(folder)
    return report


def _choose(stages: list[tuple[str, Callable[[], None]]], family: str) -> list[tuple[str, Callable[[], None]]]:
    chosen = [stage for stage in stages if stage[0] == family]
    if not chosen:
        names = ", ".join(repr(name) for name, _ in stages)
        raise ConfigError(f"--family must be one of {names}, but got {family!r:.80}")
    return chosen


STATES = 53
"""Columns in front of the states in which commands ended."""


def format_robustness(report: RobustnessReport) -> Iterator[str]:
    """Format one kind of case per line, what could not be tried, what should not have happened, and goals."""
    only = f", only: {report.family}" if report.family else ""
    yield from wrap_prose(f"model {report.model}, seed {report.seed}, {report.hardware}{only}")
    section = ""
    for tally in report.tallies:
        if tally.section != section:
            section = tally.section
            yield ""
            yield f"{section:44}{'tried':>6}   ended as"
        states = ", ".join(f"{count} {state}" for state, count in tally.states.items())
        wrong = f"   {len(tally.problems)} PROBLEMS" if tally.problems else ""
        yield from wrap_prose(f"{tally.kind[:43]:44}{tally.tried:6}   {states}{wrong}", " " * STATES)
    yield f"{'all':44}{report.tried:6}   {report.ended} ended in one state"
    if report.not_tried:
        yield ""
    for one in report.not_tried:
        yield f"not tried: {one.kind}: {one.reason}"
    for problem in report.problems:
        yield ascii(f"problem: {problem}")[1:-1]
    yield from format_goals(report.targets)


PROCEDURE = report_procedure(RobustnessReport, attack, format_robustness)
