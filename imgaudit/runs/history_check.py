"""Check the history of a run: its lines follow one another, and say what manifest.json and report.json say."""

from collections.abc import Iterator
from itertools import islice

from imgaudit.exceptions import RunFolderError
from imgaudit.io.chain import ChainedFile
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import History, join_history, parse_line, read_history_lines
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.history import HistoryEnd, HistoryStart
from imgaudit.schema.verification import Check

NAMED = 50
"""Problems that are named one by one."""

FILE = "'history.jsonl'"

NO_HISTORY = (
    "the run has no history: it was made by an older version, which recorded no beginnings and ends of commands"
)

OUTSIDE = "whether commands ran on other copies of the run: its history knows its own folder alone"


def check_history(run: RunFolder) -> Check:
    """Check every line of history.jsonl, and compare it with manifest.json and report.json.

    Raises RunFolderError when the folder is no finished run.
    """
    try:
        found = read_history_lines(run)
        history = join_history(found)
        problems = [*_wrong_lines(found), *_contradictions(run, history)]
    except RunFolderError as error:
        return Check(name="history", problems=(str(error),))
    # A command can have begun since the report was written.
    said, deciding = _read_reported(run), history.deciding
    if said != deciding[: len(said) if isinstance(said, list) else 0] or bool(deciding) is not bool(said):
        problems.append(f"report.json names other commands than {FILE}, or others in between")
    if len(problems) > NAMED:
        problems[NAMED:] = [f"{FILE}: {len(problems) - NAMED} more problems"]
    if not history.entries:
        return Check(name="history", not_done=(NO_HISTORY,), problems=tuple(problems))
    count = len(history.entries)
    done = (
        f"{count} {'command' if count == 1 else 'commands'} in {FILE} {'was' if count == 1 else 'were'} checked: each "
        "line follows the one before"
    )
    return Check(name="history", done=done, not_done=(*_without_end(history), OUTSIDE), problems=tuple(problems))


def _read_reported(run: RunFolder) -> object:
    """Return the commands that report.json names, as they stand there; none in reports of older versions."""
    content = run.read_report_around()
    described = content.get("run") if isinstance(content, dict) else None
    return described.get("history", []) if isinstance(described, dict) else []


def _without_end(history: History) -> Iterator[str]:
    cut = [one.start for one in history.entries if one.end is None]
    for one in islice(cut, NAMED):
        yield f"command {one.number} ({one.work}, {one.time}) has no end: it was killed, or is still running"


def _wrong_lines(found: ChainedFile) -> Iterator[str]:
    """Yield lines that do not follow the one before, and lines that no command writes."""
    yield from (f"{FILE}: {problem}" for problem in found.problems())
    begun, ended = 0, set[int]()
    for line in found.lines:
        if line.record is None:
            continue
        parsed = parse_line(line.record)
        if not line.has_link:
            yield f"{FILE}: line {line.number} has no link: imgaudit writes none without"
        if isinstance(parsed, HistoryStart):
            begun += 1
            if parsed.number != begun:
                yield f"{FILE}: line {line.number} begins command {parsed.number}, but command {begun} is next"
        elif isinstance(parsed, HistoryEnd):
            if parsed.number > begun or parsed.number in ended:
                yield f"{FILE}: line {line.number} ends command {parsed.number}, which has not begun or has ended"
            ended.add(parsed.number)
        else:
            yield f"{FILE}: line {line.number} is no line of a history"


def _contradictions(run: RunFolder, history: History) -> Iterator[str]:
    """Yield where the first command is not the one that manifest.json names."""
    first = history.entries[0].start if history.entries else None
    if first is None or first.work != "audit":
        return
    manifest = read_manifest(run)
    for name, said, written in (
        ("command", first.command, manifest.command),
        ("operator", first.operator, manifest.operator),
        ("version", first.version, manifest.versions.get("imgaudit", "")),
    ):
        if said != written:
            yield f"{FILE}: the first command has another {name} than manifest.json"
    if first.time < manifest.started:
        yield f"{FILE}: the first command began at {first.time}, before manifest.json was made at {manifest.started}"
