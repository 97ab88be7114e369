"""What is printed of a part of an audit: how much was measured, and how all parts become a result."""

from pathlib import Path

import typer

from imgaudit.cli.terminal import print_wrapped
from imgaudit.schema.shard import ShardSummary


def print_shard(summary: ShardSummary, out: Path, *, json_lines: bool) -> None:
    """Print what a part has measured, as text or as JSON."""
    if json_lines:
        typer.echo(summary.model_dump_json())
        return
    done = f"{summary.measured} of {summary.images} images measured, {summary.skipped} skipped"
    print_wrapped(f"{summary.shard}: {done} ->", str(out))
    print_wrapped("No verdict is final before all shards are merged:", "imgaudit merge SHARD... --out RUN")
