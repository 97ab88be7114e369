"""`imgaudit benchmark methods`: what was hoped of the field's methods, and what came of it, on one page."""

import json
from typing import Annotated

import typer

from imgaudit.cli.benchmark_options import Json


def methods(
    labs: Annotated[list[str], typer.Argument(metavar="LAB...", help="Bundled labs, or lab folders with tables.")],
    json_output: Json = False,
) -> None:
    """Prompt detection, InvMM, trigger search and mitigations on labs that chose nothing: hopes, n and intervals."""
    from imgaudit.benchmark.methods.summary import method_outcomes
    from imgaudit.cli.benchmark_tables import goal_lines

    outcomes = method_outcomes(labs)
    if json_output:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in outcomes], indent=2))
        return
    for number, one in enumerate(outcomes):
        if number:
            typer.echo("")
        typer.echo(f"{one.method} on the lab {one.lab}, seed {one.seed}")
        for line in goal_lines(one.targets):
            if line not in ("", "goals"):
                typer.echo(f"  {line}")
