"""Kills of audits that several processes measure: of the command itself, and of one of the processes."""

import importlib.util
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from imgaudit.benchmark.robustness.bench import Bench, differences, findings_of_run, visible_problems
from imgaudit.benchmark.robustness.interruptions import (
    RESUMABLE,
    Undisturbed,
    Victim,
    audit_undisturbed,
    kill_at_random,
    reached,
    stage_of,
)
from imgaudit.benchmark.robustness.processes import Child, find_descendants, wait_until

KILLED = "kills of several processes"
"""Name of this family of attacks."""

MEASURING = ("calibrating", "measuring")
"""The stages in which the processes of an engine work."""


ATTEMPTS = 5
"""Audits that are begun at most, for each kill of a process."""


@dataclass(frozen=True)
class Divided:
    """One way to measure by two processes."""

    name: str
    """What measures, as the table names it."""
    options: tuple[str, ...]
    """Options of the command."""
    mark: str
    """Part of the command line by which the system lists such a process."""
    lacking: str
    """Why it cannot be tried on this machine; empty where it can."""

    @property
    def section(self) -> str:
        """Where its kills are counted."""
        return f"interruption, {self.name}"

    def find_processes(self, child: Child) -> list[int]:
        """Return the numbers of the processes below a command that measure for it."""
        pid = child.process.pid
        return find_descendants(pid, self.mark) if pid is not None else []


def list_divided() -> list[Divided]:
    """Return the ways that there are, with why one of them cannot be tried."""
    lacking = "" if importlib.util.find_spec("ray") else "Ray is not installed: pip install 'imgaudit[ray]'"
    return [
        Divided("two workers", ("--workers", "2", "--worker-threads", "1"), "spawn_main", ""),
        Divided("two actors of Ray", ("--engine", "ray", "--workers", "2"), "MeasuringActor", lacking),
    ]


def kill_engines(bench: Bench, whole: Undisturbed, kills: int, on_progress: Callable[[int, int], None]) -> None:
    """Kill the command, and one process, `kills` times each, for every way to divide the work.

    A command that was killed is given again. When one process was killed, the command must go on by itself. Both have
    to end with the findings of the same audit that nothing disturbed.
    """
    if not kills:
        return
    ways = list_divided()
    total = 2 * kills * sum(not way.lacking for way in ways)
    done = 0
    for way in ways:
        if way.lacking:
            bench.recorder.leave_out(f"kills of {way.name}", way.lacking)
            continue
        divided = audit_undisturbed(bench, replace(whole, options=way.options))
        bench.compare(way.section, "nothing killed", differences(divided.findings, whole.findings))
        tell = partial(_tell_from, on_progress, total)
        command = Victim(way.section, "the command", MEASURING)
        kill_at_random(bench, divided, kills, partial(tell, done), command)
        kill_processes(bench, divided, way, kills, partial(tell, done + kills))
        done += 2 * kills


def _tell_from(on_progress: Callable[[int, int], None], total: int, begun: int, done: int, _: int) -> None:
    on_progress(begun + done, total)


def kill_processes(
    bench: Bench, whole: Undisturbed, way: Divided, kills: int, on_progress: Callable[[int, int], None]
) -> None:
    """SIGKILL one process of an engine at a random moment, until `kills` have met one that was alive.

    Most attempts do. What is left after several times as many is listed as not tried.
    """
    victim, done = Victim(way.section, "one process", MEASURING), 0
    for attempt in range(ATTEMPTS * kills):
        if done == kills:
            return
        place = bench.place("process-killed")
        met, problems = _kill_one_process(bench, whole, way, MEASURING[attempt % len(MEASURING)], place)
        if met or problems:
            kind, ended = victim.name(met) if met else "nothing killed", "different" if problems else "identical"
            bench.recorder.count(victim.section, kind, ended, problems)
        done += bool(met)
        on_progress(done, kills)
        if not problems:
            shutil.rmtree(place)
    if done < kills:
        bench.recorder.leave_out(f"{kills - done} kills of one of {way.name}", "no process of theirs was met alive")


def _kill_one_process(bench: Bench, whole: Undisturbed, way: Divided, stage: str, place: Path) -> tuple[str, list[str]]:
    """Kill one process of a new audit; return the stage that it met, empty where it met none, and what went wrong."""
    run, since, met = place / "run", time.time(), ""
    child = Child(whole.arguments(bench, run), place)
    wait_until(lambda: reached(run, stage, since) and bool(way.find_processes(child)), child)
    time.sleep(bench.random.uniform(0, whole.durations[stage]))
    processes = way.find_processes(child)
    if processes:
        met = stage_of(run, since)
        try:
            os.kill(bench.random.choice(processes), signal.SIGKILL)
        except ProcessLookupError:
            met = ""
    ended = child.wait()
    return met, visible_problems(ended, RESUMABLE) + differences(findings_of_run(run), whole.findings)
