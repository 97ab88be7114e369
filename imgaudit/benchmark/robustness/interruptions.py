"""Kills, signals and the stages they meet; afterwards the run has to come out as if nothing had been."""

import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imgaudit.benchmark.robustness.bench import (
    IMAGES,
    Bench,
    differences,
    findings_of_run,
    visible_problems,
)
from imgaudit.benchmark.robustness.processes import Child, Ended, wait_until

STAGES = ("reading and loading", "calibrating", "measuring", "deciding", "rendering")
"""Parts of an audit, told apart by what is in the run folder."""

RESUMABLE = (0, 1, 3)
"""Exit codes of an audit that came to its end."""


@dataclass(frozen=True)
class Undisturbed:
    """The audit that everything is compared with."""

    targets: Path
    controls: Path
    findings: list[dict[str, Any]]
    durations: dict[str, float]
    """Seconds of each stage."""
    bytes_written: int
    """Size of its run folder."""
    run: Path
    """Its run folder, which is left as it is."""
    options: tuple[str, ...] = ()
    """More options of the command: by how many processes it is measured."""

    def arguments(self, bench: Bench, out: Path) -> list[object]:
        """The same audit into another run folder."""
        return bench.audit(self.targets, out, "--controls", self.controls, "--chunk-size", "2", *self.options)

    def start(self, bench: Bench, run: Path, output: Path, stage: str) -> Child:
        """Start the same audit into another run folder, and wait until it has reached a stage or has ended."""
        since = time.time()
        child = Child(self.arguments(bench, run), output)
        wait_until(lambda: reached(run, stage, since), child)
        return child


def records(run: Path) -> int:
    """Whole lines of a run's records."""
    path = run / "records.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def reached(run: Path, stage: str, since: float) -> bool:
    """Tell whether an audit that began at `since` (seconds of the system's clock) has reached a stage."""
    if stage == "reading and loading":
        return True
    if stage == "calibrating":
        return (run / "manifest.json").is_file()
    if stage == "measuring":
        return (run / "calibration.json").is_file()
    if stage == "deciding":
        return records(run) >= IMAGES
    report = run / "report.json"
    return report.is_file() and report.stat().st_mtime > since


def stage_of(run: Path, since: float) -> str:
    """The last stage that has been reached."""
    return next(stage for stage in reversed(STAGES) if reached(run, stage, since))


@dataclass(frozen=True)
class Victim:
    """What is killed, and when."""

    section: str = "interruption"
    """Where it is counted."""
    what: str = ""
    """Its name, where that has to be told."""
    stages: Sequence[str] = STAGES
    """Stages that are to be met, in turn."""

    def name(self, stage: str) -> str:
        """Name a kill that has met a stage."""
        return f"killed while {stage}" + (f": {self.what}" if self.what else "")


def audit_undisturbed(bench: Bench, other: Undisturbed | None = None) -> Undisturbed:
    """Run the audit to its end, and note when each stage began. Raises RuntimeError when it does not come to one.

    other:  the images and options are those of this audit; by default the smallest audit of new copies
    """
    place = bench.place("undisturbed")
    run = place / "run"
    planned = other or Undisturbed(*bench.portfolio(), [], {}, 0, run)
    arguments = planned.arguments(bench, run)
    # The first child waits for the server to start, which is no part of an audit.
    Child(["--version"], place / "start").wait()
    since, began = time.time(), time.monotonic()
    child = Child(arguments, place)
    starts = []
    for stage in STAGES:
        wait_until(lambda stage=stage: reached(run, stage, since), child)  # type: ignore[misc]
        starts.append(time.monotonic() - began)
    ended = child.wait()
    starts.append(time.monotonic() - began)
    findings = findings_of_run(run)
    if ended.code not in RESUMABLE or len(findings) != IMAGES:
        raise RuntimeError(f"the undisturbed audit ended with {ended.code}: {ended.stderr[-2000:]}")
    durations = {stage: max(0.01, starts[n + 1] - starts[n]) for n, stage in enumerate(STAGES)}
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    return replace(planned, findings=findings, durations=durations, bytes_written=size, run=run)


def resume(bench: Bench, whole: Undisturbed, run: Path, output: Path) -> tuple[Ended, list[str]]:
    """Give the same command again, and say in what the result differs from the undisturbed one."""
    ended = Child(whole.arguments(bench, run), output).wait()
    problems = visible_problems(ended, RESUMABLE)
    if (run / "controls").exists():
        problems.append("the work behind the bank was left")
    return ended, problems + differences(findings_of_run(run), whole.findings)


def kill_at_random(
    bench: Bench, whole: Undisturbed, kills: int, on_progress: Callable[[int, int], None], victim: Victim | None = None
) -> None:
    """SIGKILL at random moments of every stage in turn, several times into one run, until `kills` have met."""
    victim = victim or Victim()
    done = attempts = 0
    while done < kills:
        place = bench.place("killed")
        run, met = place / "run", list[str]()
        for _ in range(bench.random.randint(1, 4)):
            stage = victim.stages[attempts % len(victim.stages)]
            attempts += 1
            since = time.time()
            child = whole.start(bench, run, place, stage)
            time.sleep(bench.random.uniform(0, whole.durations[stage]))
            if child.kill():
                met.append(stage_of(run, since))
        if not met:
            continue
        _, problems = resume(bench, whole, run, place / "resumed")
        for number, stage in enumerate(met):
            bench.recorder.count(victim.section, victim.name(stage), "identical" if not problems else "different",
                                 problems if number == 0 else ())  # fmt: skip
        done += len(met)
        on_progress(min(done, kills), kills)
        if not problems:
            shutil.rmtree(place)


def interrupt(bench: Bench, whole: Undisturbed) -> None:
    """Ctrl-C once, Ctrl-C twice and SIGTERM, while calibrating and while measuring."""
    for stage in ("calibrating", "measuring"):
        for kind, numbers in (
            ("Ctrl-C once", [signal.SIGINT]),
            ("Ctrl-C twice", [signal.SIGINT, signal.SIGINT]),
            ("SIGTERM", [signal.SIGTERM]),
        ):
            place = bench.place("signalled")
            run = place / "run"
            child = whole.start(bench, run, place, stage)
            for number in numbers:
                child.send(number)
                time.sleep(0.05)
            ended = child.wait()
            problems = visible_problems(ended, (130,))
            if "continue with: imgaudit audit" not in " ".join(ended.stderr.split()):
                problems.append("the line that continues was not printed")
            if kind != "Ctrl-C twice" and stage == "measuring" and records(run) % 2:
                problems.append(f"{records(run)} records: the chunk in hand was not finished")
            _, later = resume(bench, whole, run, place / "resumed")
            bench.compare("interruption", f"{kind} while {stage}", later, problems)
