"""`imgaudit merge`: all parts of an audit, or of a null bank, become one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.audit import print_outcome
from imgaudit.cli.exit_codes import ExitCode, find_exit_code
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.options import Quiet, StreamedJson
from imgaudit.cli.paths import require_new, require_present
from imgaudit.cli.signatures import Heading, argument, option, takes_records
from imgaudit.cli.terminal import print_wrapped, say, stage_progress
from imgaudit.exceptions import InputError
from imgaudit.schema.config import FailOn


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="merge", rich_help_panel=heading)(takes_records(_merge))


def _merge(
    *,
    shards: Annotated[list[Path], argument("SHARD...", help="All shards: the folders that `imgaudit audit --shard` "
        "made, or the files that `imgaudit calibrate --shard` made.", callback=require_present)],
    out: Annotated[Path, option(Heading.OUTPUT, "New run folder, or null bank to write.", "--out", "-o",
        metavar="PATH", callback=require_new)],
    fail_on: Annotated[FailOn, option(Heading.OUTPUT, "For scripts: exit with code 1 for these verdicts, as in "
        "`imgaudit audit`.", metavar="WHAT")] = FailOn.REPLICATED,
    json_output: StreamedJson = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Merge all shards of an audit into one run and decide it, or all shards of a null bank into one bank.

    The result is that of an undivided audit. Shards that are missing, given twice, unfinished, changed, or of another
    audit are named, and there is no result. Needs no model.
    """
    files = [shard for shard in shards if not shard.is_dir()]
    if not files:
        raise typer.Exit(_merge_runs(shards, out, fail_on, json_lines=json_output, quiet=quiet))
    if len(files) < len(shards):
        raise InputError(
            f"give folders only, to merge an audit, or files only, to merge a null bank: {str(files[0])!r} is no folder"
        )
    raise typer.Exit(_merge_banks(shards, out))


def _merge_runs(shards: list[Path], out: Path, fail_on: FailOn, *, json_lines: bool, quiet: bool) -> ExitCode:
    from imgaudit.api import merge
    from imgaudit.runs.evidence import read_evidence
    from imgaudit.runs.folder import RunFolder

    with Interruption("files").listening() as interruption, stage_progress(quiet=quiet) as advance:
        result = merge(
            shards, out=out, command=sys.argv, on_progress=interruption.stopping_stages(advance),
            on_note=lambda sentence: say(sentence, quiet=quiet),
        )  # fmt: skip
    print_outcome(result, out, json_lines=json_lines, quiet=quiet)
    say("head of the evidence, to be noted elsewhere:", read_evidence(RunFolder(out)).head, quiet=quiet)
    return find_exit_code(result, fail_on)


def _merge_banks(shards: list[Path], out: Path) -> ExitCode:
    from imgaudit.decision.bank_shards import join_bank_shards
    from imgaudit.decision.null_bank import NullBank

    whole = join_bank_shards([NullBank.read(shard) for shard in shards])
    whole.write(out)
    print_wrapped(f"{len(whole.controls)} controls, {len(whole.kept_out)} more kept out of the bank ->", str(out))
    return ExitCode.DECIDED
