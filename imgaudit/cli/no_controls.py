"""The choice to audit without controls: given as an option, made before, or asked for on a terminal."""

import sys
from collections.abc import Callable
from pathlib import Path

import typer

from imgaudit.cli.terminal import say
from imgaudit.exceptions import InputError
from imgaudit.schema.config import AuditConfig

CONSEQUENCE = (
    "without controls, every image that the model does not return for its own text will be inconclusive, and no image "
    "gets a p-value"
)
"""The limit of an audit without controls."""


WAYS = (
    "give --controls FOLDER with images that cannot have been in the training set, such as unpublished ones",
    "give --calibration BANK, made once by imgaudit calibrate for this model",
    "give --no-controls to audit without them",
)
"""Ways to choose, for whoever gave no controls."""

FEW_IMAGES = 10
"""An audit of no more images goes on without controls and only says what that means: a trial costs little."""


def lacks_choice(config: AuditConfig, source: str, run: Path, *, given: bool) -> bool:
    """Tell whether nobody has chosen yet to audit without controls, and so has to be asked.

    source:  where `no_controls` was set
    run:     run folder; one that holds a null bank, or was begun without controls by choice, is continued as it is
    given:   whether controls or a null bank were given

    Raises InputError when controls are both given and declined.
    """
    held = (run / "calibration.json").is_file()
    if config.no_controls and given:
        raise InputError(f"no_controls (from {source}) was given together with controls or a null bank: give only one")
    if config.no_controls and held:
        raise InputError(f"{str(run)!r} was begun with controls: continue it without --no-controls")
    return not (config.no_controls or given or held or _was_declined(run))


def choose_without_controls(images: int, estimate: Callable[[], str]) -> str:
    """Say what an audit without controls means, or ask on the terminal when it is of more than a few images.

    estimate:  returns how long the audit takes, in words
    Returns    the reason why there are no controls, for the manifest

    Raises InputError that says what to give when the answer is no, or nobody can be asked.
    """
    if images <= FEW_IMAGES:
        say(f"note: no controls were given: {CONSEQUENCE}. To get p-values, {WAYS[0]}, or {WAYS[1]}")
        return f"an audit of no more than {FEW_IMAGES} images"
    require_terminal()
    ask_without_controls(images, estimate)
    return "asked on the terminal"


def require_terminal() -> None:
    """Refuse to audit without controls unasked. Raises InputError that says what to give."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            f"no controls were given: {CONSEQUENCE}. Nothing was measured. Choose one: {WAYS[0]}; {WAYS[1]}; or "
            f"{WAYS[2]}"
        )


def ask_without_controls(images: int, estimate: Callable[[], str]) -> None:
    """Ask on the terminal whether to audit without controls. Raises InputError when the answer is no.

    estimate:  returns how long the audit takes, in words
    """
    say(f"No controls were given: {CONSEQUENCE}.")
    say(f"Auditing {images} images takes {estimate()}.")
    for way in WAYS[:2]:
        say(f"To get p-values instead, {way}.")
    if not typer.confirm("Audit without controls?", default=False, err=True):
        raise InputError("nothing was audited: give --controls FOLDER or --calibration BANK")


def _was_declined(run: Path) -> bool:
    # Imported here, so that --help stays free of what runs need.
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.manifest import read_manifest

    folder = RunFolder(run)
    if not folder.manifest_path.is_file():
        return False
    kept = read_manifest(folder).config.get("no_controls")
    return kept is not None and kept.value is True
