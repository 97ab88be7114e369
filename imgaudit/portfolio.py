"""The owner's folder, read once: which files can be measured, which texts belong to them, and what is left out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgaudit.captions import CaptionSource
from imgaudit.exceptions import ImageError, InputError
from imgaudit.images import LoadedImage, find_images, load_image
from imgaudit.records import Rung, SkippedImage


@dataclass(frozen=True)
class Target:
    """An image to measure, and the texts that may ask for it."""

    path: Path
    """Where it is."""
    image: LoadedImage
    """Its pixels."""
    texts: Mapping[Rung, Sequence[str]]
    """Prompts and caption, as far as there are any."""


@dataclass(frozen=True)
class Portfolio:
    """The files of a folder, read once: what can be measured and what cannot."""

    targets: list[Target]
    """Readable images in order of SHA-256; identical files occur once."""
    skipped: list[SkippedImage]
    """Everything else, with the reason."""

    @property
    def texts_sha256(self) -> str:
        """SHA-256 over every prompt and caption with the image it belongs to."""
        texts = [(target.image.sha256, sorted(target.texts.items())) for target in self.targets]
        return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()

    @property
    def count(self) -> int:
        """Files given."""
        return len(self.targets) + len(self.skipped)


def read_portfolio(folder: Path, captions: CaptionSource, prompts: CaptionSource | None = None) -> Portfolio:
    """Read every image of a folder with its texts; unreadable files and second copies become skipped.

    Raises InputError when the folder holds no image file at all.
    """
    paths = find_images(folder)
    if not paths:
        raise InputError(f"{str(folder)!r} holds no image files (.png, .jpg, .webp, .tif, ...)")
    targets: dict[str, Target] = {}
    skipped = []
    for path in paths:
        try:
            image = load_image(path)
        except ImageError as error:
            skipped.append(SkippedImage(path=path_text(path), skipped=f"the file {error}"))
            continue
        if image.sha256 in targets:
            first = path_text(targets[image.sha256].path)
            skipped.append(SkippedImage(path=path_text(path), skipped=f"identical to {first}, which is audited"))
            continue
        texts = {}
        if prompts is not None and (given := prompts.find(path)):
            texts[Rung.PROMPT] = given
        if caption := captions.find(path):
            texts[Rung.CAPTION] = caption
        targets[image.sha256] = Target(path, image, texts)
    return Portfolio([targets[sha256] for sha256 in sorted(targets)], skipped)


def path_text(path: Path) -> str:
    """A path as text that can be written as UTF-8, whatever bytes the file system holds."""
    return str(path).encode("utf-8", errors="backslashreplace").decode("utf-8")
