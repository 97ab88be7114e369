"""`imgaudit bank`: null banks merged and described."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.paths import require_file, require_new_file
from imgaudit.cli.signatures import Heading, argument, option
from imgaudit.cli.terminal import print_wrapped
from imgaudit.schema.text import as_sentence

bank = typer.Typer(help="Merge and describe null banks: files with the measurements of controls.", no_args_is_help=True)


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(bank, name="bank", rich_help_panel=heading)


@bank.command()
def merge(
    banks: Annotated[list[Path], argument("BANK", help="Two or more null banks.", callback=require_file)],
    out: Annotated[
        Path, option(Heading.OUTPUT, "File to write.", "--out", "-o", metavar="FILE", callback=require_new_file)
    ],
) -> None:
    """Merge null banks of the same model and protocol, as if all controls had been measured at once."""
    from imgaudit.decision.controls_needed import describe_works
    from imgaudit.decision.null_bank import NullBank

    whole = NullBank.read(banks[0]).by_work()
    for path in banks[1:]:
        whole = whole.merge(NullBank.read(path))
    whole.write(out)
    print_wrapped(f"{len(whole.controls)} controls, {len(whole.kept_out)} more kept out of the bank ->", str(out))
    if whole.works < whole.files:
        print_wrapped(describe_works(whole.files, whole.works))


@bank.command()
def info(path: Annotated[Path, argument("BANK", help="Null bank.", callback=require_file)]) -> None:
    """Show what a null bank holds: model, protocol, images, and what its controls can find."""
    from imgaudit.decision.alarms import find_bank_alarms
    from imgaudit.decision.controls_needed import describe_controls_needed, describe_works
    from imgaudit.decision.forcing import check_forcing
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.schema.policy import Policy
    from imgaudit.schema.score_search import describe_score, recorded_search

    held, policy = NullBank.read(path).by_work(), Policy()
    print_wrapped(f"model {held.model} {held.model_fingerprint[:16]}, protocol {held.protocol.hash[:16]}")
    for source in held.sources:
        line = f"{len(source.sha256s)} images: {source.note} (made {source.made}, seed {source.seed})"
        print_wrapped(line)
    print_wrapped(describe_works(held.files, held.works))
    print_wrapped(f"{len(held.controls)} give p-values, {len(held.kept_out)} are kept out of the bank")
    if score := describe_score(recorded_search(held.protocol), held.baselines):
        print_wrapped(score)
    if held.protocol.invmm is not None:
        print_wrapped(f"measured by InvMM as well, {held.protocol.invmm.steps} steps at most")
    for targets in (1, 10, 100):
        print_wrapped(f"for {targets} targets: {describe_controls_needed(len(held.controls), targets, policy.level)}")
    for alarm in find_bank_alarms(held, policy, check_forcing(held, policy)):
        print_wrapped(f"alarm: {as_sentence(alarm.message)}")
