"""A folder that hostile files are written to, with what an audit has to make of each."""

import enum
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (24, 24)
"""Width and height of most pictures: large enough to differ, small enough to be measured by the hundred."""

UNUSUAL_ENTRIES = ("metadata", "names", "same name", "identical", "symbolic link", "no ordinary file")
"""Kinds whose entries depend on each other or are followed through the whole audit, and are always kept."""

_SEED = 0x686F7374
"""Sets these pictures apart from those of other generators."""


class Outcome(enum.StrEnum):
    """How an audit must end for one entry of the folder."""

    MEASURED = "measured"
    """It can be decoded and must be audited."""
    SKIPPED = "skipped"
    """It must be refused, with a reason."""
    EITHER = "either"
    """Library versions or rights decide; measured or skipped, but one of the two."""
    UNLISTED = "unlisted"
    """It is hidden, or no image by its name: it does not count as an input."""


@dataclass(frozen=True)
class HostileFile:
    """An entry of the folder: a file, a link, a device or a folder that is called like an image."""

    kind: str
    """What is unusual about it, as tables group it."""
    path: Path
    """Where it is."""
    expected: Outcome
    """How it must end."""


class HostileFolder:
    """Writes files and keeps what is expected of them; no two pictures are alike."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[HostileFile] = []
        self._pictures = 0

    def picture(self, size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
        """A smooth random picture, another one at each call."""
        self._pictures += 1
        coarse = np.random.default_rng((_SEED, self._pictures)).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)

    def encoded(self, form: str, size: tuple[int, int] = SIZE, mode: str = "RGB", **options: Any) -> bytes:
        """Encode another picture in a format that Pillow writes."""
        return encoded(self.picture(size, mode), form, **options)

    def path(self, kind: str, name: str) -> Path:
        """Return the place of an entry of a kind; the folders above it are made."""
        path = self.folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, kind: str, path: Path, expected: Outcome) -> None:
        """Note an entry that is there already."""
        self.files.append(HostileFile(kind, path, expected))

    def put(self, kind: str, name: str, data: bytes, expected: Outcome) -> Path:
        """Write a file. Raises OSError when the file system does not take the name, or takes it for another one."""
        path = self.path(kind, name)
        with path.open("xb") as file:
            file.write(data)
        self.add(kind, path, expected)
        return path

    def keep(self, each: int) -> None:
        """Delete all but the first files of every kind and expected outcome, where what they hold is unusual."""
        met: Counter[tuple[str, Outcome]] = Counter()
        for file in [file for file in self.files if file.kind not in UNUSUAL_ENTRIES]:
            met[file.kind, file.expected] += 1
            if met[file.kind, file.expected] > each:
                file.path.unlink()
                self.files.remove(file)

    def put_all(self, kind: str, files: Mapping[str, bytes], expected: Outcome) -> None:
        """Write several files of one kind that must end alike."""
        for name, data in files.items():
            self.put(kind, name, data, expected)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """An image in a format that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()
