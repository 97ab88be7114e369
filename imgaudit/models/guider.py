"""The guider of a pipeline: how predictions with and without a prompt are combined, from numbers in a file."""

import inspect
from pathlib import Path
from typing import Any

import diffusers

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import read_json
from imgaudit.models.library_errors import refuse_errors

GUIDER_FILE = "guider_config.json"
"""File of a guider's settings."""

LARGEST = 1e6
"""Settings are scales, shares and counts of steps, none of them larger."""


def load_guider(folder: Path, class_name: str) -> Any:
    """Load the guider of a folder that was inspected.

    class_name:  as model_index.json gives it, one that the family has
    Raises ModelRefusedError for settings that are no numbers of a sensible size, and for those that the class refuses.
    """
    config = read_json(folder / GUIDER_FILE)
    guider = getattr(diffusers, class_name)
    known = set(inspect.signature(guider.__init__).parameters) & config.keys()
    for key in sorted(known):
        # Whole numbers are compared as they are: those too large for a float would be an error.
        if not isinstance(config[key], int | float) or not -LARGEST <= config[key] <= LARGEST:
            raise ModelRefusedError(
                f"'{folder.name}/{GUIDER_FILE}' sets {key!r} to {config[key]!r:.80}; expected a number up to "
                f"{LARGEST:,.0f}"
            )
    with refuse_errors(f"{folder.name!r} cannot be loaded"):
        return guider(**{key: config[key] for key in known})
