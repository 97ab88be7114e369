"""Run folders that reach outside: every command that opens a run, on every hostile run folder, beside a folder that
nothing may read, change, fill or empty."""

import hashlib
import http.client
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imgaudit.benchmark.harness.figures import Goal, measure_rate
from imgaudit.benchmark.robustness.bench import Bench, visible_problems
from imgaudit.benchmark.robustness.hostile.run_folders import (
    COLOUR,
    HostileRun,
    ReceivedRun,
    hostile_runs,
    make_outside,
)
from imgaudit.benchmark.robustness.interruptions import Undisturbed
from imgaudit.benchmark.robustness.processes import Child, Ended, run_command, wait_until
from imgaudit.benchmark.robustness.tally import Tally
from imgaudit.report.review import ReviewChoice, ReviewDecision, Source, read_reviewed_run, write_decisions_file

SECTION = "run folders that reach outside"

MARKER = "QX9-outside-QX9"
"""Text of every file outside."""

MEMORY = 4 * 2**30
"""Bytes of memory that a command may have, including all libraries; more is refused by the system."""

SECONDS = 240
"""Seconds after which a command counts as one that hangs, on a busy machine too."""

ORDERLY = (0, 1, 2, 3, 5)
"""Exit codes of commands that ended by themselves, whatever they concluded."""

AT_ONCE = 2
"""Commands that run at the same time."""

MOST_PROBLEMS = 5
"""Problems of one command that are named."""

Arguments = Callable[[Bench, Undisturbed, ReceivedRun, Path], list[object]]


@dataclass(frozen=True)
class Command:
    """A command that opens a run."""

    name: str
    """Name in messages."""
    arguments: Arguments
    """Its command line for a run, and a folder for what it writes elsewhere."""


COMMANDS = (
    Command("report", lambda bench, whole, run, place: ["report", run.path]),
    Command("report --format csv", lambda bench, whole, run, place: ["report", run.path, "--format", "csv"]),
    Command("review status", lambda bench, whole, run, place: ["review", "status", run.path]),
    Command("review import", lambda bench, whole, run, place: ["review", "import", run.path, _decisions(whole, place)]),
    Command("review package", lambda bench, whole, run, place: [
        "review", "package", run.path, run.image, "--output", place / "package"]),
    Command("verify", lambda bench, whole, run, place: ["verify", run.path]),
    Command("compare", lambda bench, whole, run, place: [
        "compare", run.path, whole.run, "--format", "html", "--out", place / "comparison"]),
    Command("view", lambda bench, whole, run, place: ["view", run.path, "--no-browser"]),
)  # fmt: skip
"""Commands that need no model, on every case."""

WITH_MODEL = (
    Command("audit", lambda bench, whole, run, place: whole.arguments(bench, run.path)),
    Command("dial", lambda bench, whole, run, place: [
        "dial", run.path, "--model", bench.model, "--device", "cpu", "--seeds", "1"]),
    Command("match", lambda bench, whole, run, place: [
        "match", whole.targets, whole.targets, "--out", run.path]),
)  # fmt: skip
"""Commands that take long, on one case of each kind."""


def _decisions(whole: Undisturbed, place: Path) -> Path:
    """Write a file with a decision on the first image of the run."""
    path = place / "decisions.json"
    reviewed = read_reviewed_run(whole.run)
    finding = next(iter(reviewed.images.values()))
    decision = ReviewDecision.model_validate(
        {"run_id": reviewed.run_id, "image_id": finding.id, "sha256": finding.sha256, "comment": "",
         "result_sha256": reviewed.result_sha256, "decision": ReviewChoice.ACCEPT, "replication_level": None,
         "reviewer": "Ann", "made": "2026-01-01T00:00:00Z", "machine_verdict": finding.verdict,
         "source": Source.FILE, "version": "0"}
    )  # fmt: skip
    path.write_text(write_decisions_file(reviewed.run_id, [decision]), encoding="utf-8")
    return path


def reach_outside(bench: Bench, whole: Undisturbed, kinds: int | None = None) -> None:
    """Run every command on every hostile run folder.

    kinds:  cases of each kind, from the first on; None for all. With fewer than all, the commands take turns: each kind
            meets half of those that need no model and one of those that take long
    """
    met: dict[str, int] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for case in hostile_runs():
            met[case.kind] = met.get(case.kind, 0) + 1
            if kinds is not None and met[case.kind] > kinds:
                continue
            long = WITH_MODEL if kinds is None else WITH_MODEL[len(met) % len(WITH_MODEL) :][:1]
            short = COMMANDS if kinds is None else COMMANDS[len(met) % 2 :: 2]
            commands = (*short, *(long if met[case.kind] == 1 else ()))
            attempts = [_prepare(bench, whole, case, command) for command in commands]
            for attempt, (state, problems) in zip(attempts, pool.map(_try, attempts), strict=True):
                named = [f"{case.what}, {attempt.command.name}: {problem}" for problem in problems[:MOST_PROBLEMS]]
                bench.recorder.count(SECTION, case.kind, state, named)


def goals(tallies: Sequence[Tally]) -> Iterator[Goal]:
    """Yield the goal of this family where it was tried: one case is one command on one run folder."""
    own = [tally for tally in tallies if tally.section == SECTION]
    if own:
        tried = sum(tally.tried for tally in own)
        # A command that does two wrong things escaped once.
        named = [problem.partition(": ") for tally in own for problem in tally.problems]
        escaped = len({case for case, _, what in named if "outside" in what})
        rate = measure_rate("escaped", "commands on hostile run folders", [n < escaped for n in range(tried)])
        yield Goal.exact("commands that reached outside a run folder", "0", str(rate), met=not escaped)


@dataclass(frozen=True)
class Attempt:
    """One command on one hostile run folder."""

    command: Command
    """The command."""
    arguments: list[object]
    """Its command line."""
    run: ReceivedRun
    """The hostile run folder."""
    place: Path
    """Folder that holds it, the folder outside and everything that is written."""
    before: dict[str, tuple[object, ...]]
    """State of the folder outside."""


def _prepare(bench: Bench, whole: Undisturbed, case: HostileRun, command: Command) -> Attempt:
    place = bench.place("received")
    copy, written = place / "run", place / "written"
    shutil.copytree(whole.run, copy)
    written.mkdir()
    finding = next(one for one in whole.findings if "path" in one["best_replica"])
    run = ReceivedRun(copy, place / "outside", str(finding["id"]), finding["best_replica"]["path"])
    make_outside(run.outside, MARKER, run.image)
    arguments = command.arguments(bench, whole, run, written)
    case.prepare(run)
    return Attempt(command, arguments, run, place, describe_folder(run.outside))


def _try(attempt: Attempt) -> tuple[str, list[str]]:
    """Run the command; return how it ended, and what should not have happened."""
    run, output, served = attempt.run, attempt.place / "output", b""
    if attempt.command.name == "view":
        ended, served = _view(attempt.arguments, run, output)
    else:
        ended = run_command(attempt.arguments, output, limit_memory, SECONDS)
    problems = visible_problems(ended, (*ORDERLY, 130))
    problems += [
        f"outside, {path} was {what}" for path, what in find_changes(attempt.before, describe_folder(run.outside))
    ]
    if any(MARKER.encode() in text for text in (ended.stdout.encode(), ended.stderr.encode(), served)):
        problems.append("the text of a file outside was printed or served")
    problems += find_taken_over((run.path, attempt.place / "written"), run)
    shutil.rmtree(attempt.place)
    refused = ended.code in (2, 5) or (ended.code == 0 and attempt.command.name == "view" and not served)
    return ("refused" if refused else "ended inside"), problems


def limit_memory() -> None:
    """Setup of a child: refuse it more memory than any run needs."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _view(arguments: Sequence[object], run: ReceivedRun, output: Path) -> tuple[Ended, bytes]:
    """Start the server, ask for what the case may have changed, and stop it; with it, everything that was sent."""
    child, served = Child(arguments, output, limit_memory), b""
    printed = output / "stdout"
    if wait_until(lambda: printed.is_file() and "\n" in printed.read_text(encoding="utf-8"), child, SECONDS):
        port = int(printed.read_text(encoding="utf-8").split(":")[2].split("/")[0])
        for path in ("report/index.html", f"report/thumbs/{run.image}-target.jpg", f"images/{run.image}/target.png",
                     run.replica):  # fmt: skip
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", f"/{path}")
            answer = connection.getresponse()
            content = answer.read()
            # A picture of the folder outside counts like its text.
            served += MARKER.encode() if _is_outside_picture(content) else content
            connection.close()
        child.send(signal.SIGINT)
    return child.wait(SECONDS), served


def describe_folder(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what is in a folder: kind, size, time, place on the disk and content of every entry."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        # A folder's time tells of entries that came and went again.
        found[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    status = folder.stat()
    return found | {".": (status.st_mode, status.st_mtime_ns, status.st_ino, "")}


def find_changes(
    before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]
) -> Iterator[tuple[str, str]]:
    """Yield what differs between two states of a folder: the entry, and what happened to it."""
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            yield path, "deleted"
        elif path not in before:
            yield path, "created"
        elif before[path] != after[path]:
            yield path, "changed"


def find_taken_over(folders: Sequence[Path], run: ReceivedRun) -> Iterator[str]:
    """Yield files that a command wrote and that hold what is outside."""
    inodes = {path.stat().st_ino for path in run.outside.rglob("*") if path.is_file()}
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for path in (Path(parent, name) for name in names):
                status = path.lstat()
                # Links, FIFOs, huge files and hard links are those that the case put there.
                if not path.is_file() or path.is_symlink() or status.st_size > 2**26 or status.st_ino in inodes:
                    continue
                content = path.read_bytes()
                if MARKER.encode() in content or _is_outside_picture(content):
                    yield f"{path.relative_to(folder.parent)} holds what is outside"


def _is_outside_picture(content: bytes) -> bool:
    """Tell whether a picture has the colour of the pictures outside in its middle, also smaller or as a JPEG."""
    if not content.startswith((b"\x89PNG", b"\xff\xd8")):
        return False
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > 2**20:
                return False
            colour = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return False
    return isinstance(colour, tuple) and max(abs(a - b) for a, b in zip(colour, COLOUR, strict=True)) < 12
