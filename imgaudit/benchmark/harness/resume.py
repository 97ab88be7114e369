"""Work on images in chunks, each kept on disk when it is finished: a killed benchmark continues."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from imgaudit.exceptions import InputError
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.writing import read_json, write_json


def resume_chunks(
    portfolio: Portfolio,
    folder: Path,
    size: int,
    work: Callable[[list[Target]], list[Any]],
    on_progress: Callable[[int, int], None],
) -> Iterator[tuple[Target, Any]]:
    """Yield every target with what `work` gave for it: one JSON value per target of its chunk.

    Raises InputError when the folder holds the work on other images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = len(portfolio.targets)
    for start in range(0, total, size):
        chunk, path = portfolio.targets[start : start + size], folder / f"{start:05d}.json"
        ids = [target.image.id for target in chunk]
        if not path.is_file():
            write_json(path, {"ids": ids, "results": work(chunk)})
        stored = read_json(path)
        if stored["ids"] != ids:
            raise InputError(f"{str(path)!r} holds the work on other images; choose another --out")
        yield from zip(chunk, stored["results"], strict=True)
        on_progress(start + len(chunk), total)
