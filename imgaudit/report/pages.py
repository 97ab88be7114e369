"""What every page shares: templates that escape, assets beside them, and how values are written.

Pages open from disk: no network, no server, no inline script. Names from outside are text only; files and ids come from
hashes.
"""

import shlex
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from imgaudit.io.writing import write_atomically
from imgaudit.report.glossary import PAGE, anchor_of, explain_word, link_word, read_glossary
from imgaudit.runs.history import History
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.history import HistoryEntry
from imgaudit.schema.manifest import MergedShard
from imgaudit.schema.records import Skipped
from imgaudit.schema.text import as_sentence, file_name, printable

BASE = ("style.css", "theme.js")
"""Files that every page loads."""


@cache
def page_environment() -> jinja2.Environment:
    """Load the templates, once for all pages of a program: every value is escaped, and a missing value is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imgaudit.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Templates do not change while a program runs; asking for each of thousands of pages takes its time.
        auto_reload=False,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["visible"] = printable
    environment.filters["isolate"] = _isolate
    environment.filters["isolate_name"] = _isolate_name
    environment.filters["sentence"] = as_sentence
    environment.globals["word"] = link_word
    environment.globals["explain_word"] = explain_word
    environment.tests["skipped"] = lambda value: isinstance(value, Skipped)
    return environment


def read_asset(name: str) -> bytes | None:
    """Return a stylesheet or script of this version; None when there is none of that name.

    name:  a file name without folders
    """
    source = resources.files("imgaudit.report") / "templates" / name
    return source.read_bytes() if source.is_file() else None


def write_assets(folder: Path, names: Sequence[str]) -> None:
    """Copy style and scripts beside the pages, with what every page has."""
    for name in (*BASE, *names):
        content = read_asset(name)
        if content is None:
            raise FileNotFoundError(f"imgaudit was installed without {name}")
        write_atomically(folder / "assets" / name, content)


def write_page(
    folder: Path, template: str, assets: Sequence[str], foot: Sequence[tuple[str, str]], **values: Any
) -> Path:
    """Write FOLDER/index.html from a template, with its assets and the glossary beside it; return the page's path.

    foot:    names and digests that stand at the foot of the page and of every printed sheet
    values:  as the template names them
    """
    environment = page_environment()
    page = environment.get_template(template).render(**values, foot=foot)
    write_assets(folder, assets)
    write_atomically(folder / PAGE, render_glossary(environment, foot=foot))
    write_atomically(folder / "index.html", page)
    return folder / "index.html"


def render_glossary(environment: jinja2.Environment, **values: Any) -> str:
    """Return the page with the words of reports and their meaning.

    values:  what its foot needs: `foot`, or what the pages of an audit share
    """
    template = environment.get_template("glossary.html.jinja")
    return template.render(**values, glossary=read_glossary(), anchor_of=anchor_of)


def _number(value: float | Skipped, pattern: str = ".3g") -> str:
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else format(value, pattern)


def _isolate(text: str) -> markupsafe.Markup:
    """Return text from outside that keeps its own direction: what stands around it does not change its order."""
    return markupsafe.Markup("<bdi>{}</bdi>").format(printable(text))


def _isolate_name(path: str) -> markupsafe.Markup:
    """Return a path whose last part keeps its own direction: folders may be in another script."""
    name = file_name(path)
    return markupsafe.escape(printable(path.removesuffix(name))) + _isolate(name)


def _percent(value: float | Skipped, digits: int = 1) -> str:
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else f"{value:.{digits}%}"


def reproduction_command(result: AuditResult) -> str:
    """The command line that made the run, without the path of the program; or the call from Python."""
    return format_command(result.run.get("command", []))


def continuing_commands(result: AuditResult) -> list[tuple[str, str]]:
    """Return the UTC time and the command line of every command that continued the run, oldest first."""
    found = result.run.get("continued")
    return [
        (str(one.get("time", "")), format_command(one["command"]))
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict) and isinstance(one.get("command"), list)
    ]


def describe_shards(merged: Sequence[MergedShard]) -> list[tuple[str, str]]:
    """Return every shard that a run was merged from: the command that began it, and where and when it was measured."""
    described = [(format_command(one.commands[0]) if one.commands else "", _describe_shard(one))
                 for one in merged[:SHOWN_COMMANDS]]  # fmt: skip
    if more := len(merged) - len(described):
        described.append(("", f"{more} more shards are in manifest.json"))
    return described


def _describe_shard(one: MergedShard) -> str:
    by = f" by {one.operator}" if one.operator else ""
    again = f", continued {len(one.commands) - 1} times" if len(one.commands) > 1 else ""
    version = one.versions.get("imgaudit", "of unknown version")
    return (
        f"{one.shard}, begun {one.started}{by} with imgaudit {version}{again}; "
        f"{one.device}, {one.threads} threads, {one.platform}; head of its evidence {one.head}"
    )


SHOWN_COMMANDS = 50
"""Commands that a page lists; a run has seldom more."""


def describe_history(history: History) -> list[tuple[str, str]]:
    """Return every command that changed the run, with a sentence on when, by whom and how it ended, oldest first.

    The last one has no end yet when it writes pages.
    """
    described = [
        (format_command(one.start.command), _describe_entry(one, last=one is history.entries[-1]))
        for one in history.entries[:SHOWN_COMMANDS]
    ]
    if more := len(history.entries) - len(described):
        described.append(("", f"{more} more commands are in history.jsonl"))
    return described


def _describe_entry(entry: HistoryEntry, *, last: bool) -> str:
    start, end = entry.start, entry.end
    by = f" by {start.operator}" if start.operator else ""
    begun = f"{start.work}, begun {start.time}{by} with imgaudit {start.version}"
    if end is None:
        return f"{begun}; {'wrote these pages' if last else 'no end was recorded: it was killed'}"
    outcome = f"error: {end.error}" if end.error else end.outcome
    changes = "".join(f"; {key.replace('_', ' ')}: {value}" for key, value in end.changes.items())
    return f"{begun}; {outcome} {end.time}{changes}"


NOT_SEALED = (
    "none: the run records the targets, controls and rules that it began with, but nothing shows others that they were "
    "chosen before anything was measured"
)
"""What is said of a run without a seal; `imgaudit verify` says the same."""


def describe_sealing(result: AuditResult) -> list[str]:
    """Return sentences on the seal of a run: when it was sealed, another seed, and what changed that it does not fix.

    report.json may be anybody's, so anything else than the texts that `imgaudit.runs.seal` writes is left out.
    """
    seal = result.run.get("seal")
    if not isinstance(seal, dict):
        return [NOT_SEALED]
    texts = {
        key: one for key in ("sha256", "sealed", "operator", "other_seed") if isinstance(one := seal.get(key), str)
    }
    by = f" by {texts['operator']}" if texts.get("operator") else ""
    sentences = [
        f"made {texts.get('sealed', '')}{by}; SHA-256 of seal.json {texts.get('sha256', '')}; targets, controls, rules "
        "and model are those that it names. Only a timestamp over it shows when it was made"
    ]
    if texts.get("other_seed"):
        sentences.append(texts["other_seed"])
    notes = seal.get("notes")
    return sentences + [str(one) for one in (notes if isinstance(notes, list) else [])]


def format_command(given: Sequence[object]) -> str:
    """Return a command line without the path of the program, or a call from Python."""
    command = [str(part) for part in given]
    if command[:1] == ["imgaudit.audit"]:
        return f"imgaudit.audit({', '.join(command[1:])})"
    return shlex.join(["imgaudit", *command[1:]])
