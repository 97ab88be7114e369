"""Folders that users name: screened with a progress bar, remembered between commands, remarks said aloud."""

from pathlib import Path
from typing import TYPE_CHECKING

from imgaudit.cli.terminal import progress, say
from imgaudit.config import AuditConfig

if TYPE_CHECKING:
    from imgaudit.captions import CaptionSource
    from imgaudit.portfolio import Portfolio


def cache_path() -> Path:
    """The database in which screenings are remembered, in the user's cache folder."""
    import platformdirs

    return platformdirs.user_cache_path("imgaudit") / "screening.sqlite"


def read_folder(
    folder: Path,
    captions: "CaptionSource",
    config: AuditConfig,
    *,
    prompts: "CaptionSource | None" = None,
    thumbnails: bool = False,
    quiet: bool = False,
) -> "Portfolio":
    """Screen a folder, and say what the user should know of it.

    thumbnails:  whether near-duplicates will be asked for
    """
    from imgaudit.portfolio import read_portfolio
    from imgaudit.screening import ScreeningCache

    cache = ScreeningCache(None if config.rescan else cache_path())
    try:
        with progress(f"reading {folder.name}", quiet=quiet) as advance:
            portfolio = read_portfolio(
                folder, captions, prompts, framing=config.framing if thumbnails else None, cache=cache,
                on_progress=advance,
            )  # fmt: skip
    finally:
        cache.close()
    for remark in portfolio.remarks:
        say(f"note: {remark}", quiet=quiet)
    return portfolio
