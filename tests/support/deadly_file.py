"""A worker's beginning after which reading one file ends the process, as a broken decoder does."""

import os
from pathlib import Path
from typing import Any

from imgaudit.index import describing

begin = describing._begin


def deadly_begin(name: str) -> None:
    """Set up a worker that dies of `deadly.png`."""
    begin(name)
    load = describing.load_image

    def deadly(path: Path) -> Any:
        if path.name == "deadly.png":
            os._exit(9)
        return load(path)

    describing.load_image = deadly  # type: ignore[assignment]
