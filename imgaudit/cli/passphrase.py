"""The passphrase of a private key: from the environment or asked for, never on the command line, which others see."""

import os

import typer

from imgaudit.exceptions import InputError
from imgaudit.schema.config import PASSPHRASE_VARIABLE


def ask_passphrase(path: str, *, new: bool = False) -> str:
    """Return the passphrase of a key's file.

    path:  the file, for the question
    new:   whether it is chosen now, and asked for twice
    Raises InputError when there is nobody to ask.
    """
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    from imgaudit.cli.terminal import plain

    question = f"{'New passphrase' if new else 'Passphrase'} of {plain(path).plain}"
    try:
        answer: str = typer.prompt(question, hide_input=True, confirmation_prompt=new, err=True)
    except typer.Abort as error:
        raise InputError(
            f"{path!r} needs a passphrase, and there is no terminal to ask on: set {PASSPHRASE_VARIABLE}"
        ) from error
    return answer
