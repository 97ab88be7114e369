"""`imgaudit mitigate`: what keeps a model from repeating what it memorised, and what it costs."""

import typer

from imgaudit.cli.mitigation_evaluation import evaluate

mitigate = typer.Typer(help="Mitigations: what they take from copies, and what they cost.", no_args_is_help=True)
mitigate.command()(evaluate)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(mitigate, name="mitigate")


@mitigate.command(name="list")
def list_mitigations() -> None:
    """The inference-time mitigations that --mitigation takes, with their settings."""
    from imgaudit.mitigation.choice import MITIGATIONS

    for name, kind in MITIGATIONS.items():
        typer.echo(f"{name:16}{kind.description}")
        for key, setting in kind.settings.items():
            typer.echo(
                f"  {key:14}{setting.meaning}; {setting.low:g} to {setting.high:g}, by default {setting.default:g}"
            )
