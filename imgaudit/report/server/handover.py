"""The address with its token, handed to the browser in a file that only this user can read.

Every account of a machine can read the command lines of all programs. So the browser is given the path of a page, and
that page leads to the address.
"""

import html
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import platformdirs

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={address}">
<title>imgaudit view</title></head>
<body><p><a href="{address}">Open the report</a></p></body></html>
"""


class Handover:
    """A page that leads to an address; removed at the latest when the block ends.

    A kill can leave it. The token in it is worth nothing then, because it is that of one start of the server.
    Raises OSError when the user's cache folder cannot be written.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.path = Path()
        """The page, inside the block."""

    def __enter__(self) -> "Handover":
        place = platformdirs.user_cache_path("imgaudit")
        place.mkdir(parents=True, exist_ok=True)
        # A new folder that nobody else can enter, whatever the rights of the cache folder are.
        self.path = Path(tempfile.mkdtemp(prefix="view-", dir=place)) / "open.html"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(PAGE.format(address=html.escape(self.address)))
        return self

    def remove(self) -> None:
        """Remove the page and its folder: it was used, or is no longer needed."""
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
