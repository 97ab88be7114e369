"""`--dry-run`: what would be done and what it costs, before anything is loaded."""

from typing import TYPE_CHECKING

import typer

from imgaudit.config import AuditConfig
from imgaudit.policy import Policy

if TYPE_CHECKING:
    from imgaudit.portfolio import Portfolio


def print_plan(
    config: AuditConfig, policy: Policy, portfolio: "Portfolio", *, controls: int, to_calibrate: int
) -> None:
    """Files, rungs, protocol, policy, network evaluations, and what the controls can find.

    controls:      how many give p-values
    to_calibrate:  how many have to be measured first
    """
    from imgaudit.measurement import rung_texts
    from imgaudit.planner import expected_evaluations, planner_line
    from imgaudit.records import INVERTED_RUNGS, TEXT_RUNGS, Skipped

    tried = [rung for rung in TEXT_RUNGS if rung.value in config.protocol.ladder.rungs]
    rungs = {
        rung: [not isinstance(rung_texts(t, rung, config.protocol, config.seed), Skipped) for t in portfolio.targets]
        for rung in tried
    }
    inverted = [rung.value for rung in INVERTED_RUNGS if rung.value in config.protocol.ladder.rungs]
    total = sum(
        expected_evaluations(config.protocol, len(inverted) + sum(has[number] for has in rungs.values()))
        for number in range(len(portfolio.targets))
    )
    total += to_calibrate * expected_evaluations(config.protocol, len(inverted) + len(tried))
    typer.echo(
        f"{portfolio.count} files: {len(portfolio.targets)} images to audit, {len(portfolio.skipped)} would be skipped"
    )
    for skipped in portfolio.skipped:
        typer.echo(ascii(f"skipped: {skipped.path}: {skipped.skipped}")[1:-1])
    typer.echo(
        "rungs: "
        + ", ".join(
            [*(f"{rung.value} for {sum(has)}" for rung, has in rungs.items()), *(f"{r} for all" for r in inverted)]
        )
    )
    typer.echo(f"protocol {config.protocol.hash[:16]}: {config.protocol.canonical()}")
    typer.echo(f"policy {policy.hash[:16]}: {policy.model_dump_json()}")
    typer.echo(
        f"network evaluations: at most {total:,}"
        + (f", of which controls: {to_calibrate} images" if to_calibrate else "")
    )
    typer.echo(planner_line(controls, max(1, len(portfolio.targets)), policy.level))
