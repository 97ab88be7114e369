"""The owner's folder, screened: which files can be measured, which texts belong to them, and what is left out."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from imgaudit.exceptions import InputError
from imgaudit.io.captions import CaptionSource, FolderTexts
from imgaudit.io.images import ImageFacts, load_image
from imgaudit.io.listing import Listing, describe_own_output, list_images
from imgaudit.io.reading import format_path
from imgaudit.io.screening import Screened, ScreeningCache, screen
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Rung, SkippedImage

CAPTION_FROM = "caption from "
"""Beginning of the note on an image that says where its caption was found."""


def hash_texts(texts: Mapping[Rung, Sequence[str]]) -> str:
    """Return the SHA-256 over the prompts and captions of an image, by which a manifest knows them."""
    return hashlib.sha256(json.dumps(sorted(texts.items())).encode()).hexdigest()


@dataclass(frozen=True)
class Target:
    """An image to measure, and the texts that may ask for it."""

    path: Path
    """Path of the image file."""
    image: ImageFacts
    """Properties of the file when it was screened."""
    texts: Mapping[Rung, Sequence[str]]
    """Prompts and caption, as far as there are any."""
    thumbnail: bytes = b""
    """RGB, 32 x 32, framed; empty when the portfolio was read without thumbnails."""
    pdq: str = ""
    """PDQ hash of the whole image; empty where PDQ calls it flat, and without a thumbnail."""

    @property
    def texts_sha256(self) -> str:
        """SHA-256 over the prompts and captions."""
        return hash_texts(self.texts)

    @property
    def caption_source(self) -> str:
        """Where the caption was found, such as "the sidecar file"; empty without a caption."""
        found = (note.removeprefix(CAPTION_FROM) for note in self.image.notes if note.startswith(CAPTION_FROM))
        return next(found, "")

    def load(self) -> "LoadedTarget":
        """Read the pixels. Raises ImageError when the file is gone, or no longer what was screened."""
        return LoadedTarget(self, load_image(self.path, sha256=self.image.sha256).pixels)


@dataclass(frozen=True)
class LoadedTarget:
    """A target with its pixels in memory, for as long as it is measured."""

    target: Target
    """The rest."""
    pixels: Image.Image
    """RGB, 8 bit."""


@dataclass(frozen=True)
class Portfolio:
    """The files of a folder, each looked at once: what can be measured and what cannot."""

    targets: list[Target]
    """Readable images in order of SHA-256; identical files occur once."""
    skipped: list[SkippedImage]
    """Everything else, with the reason."""
    remarks: list[str] = field(default_factory=list)
    """Remarks on the folder for the user, in sentences."""
    gone: Mapping[str, SkippedImage] = field(default_factory=dict)
    """SHA-256 of files that a continued run began with and that are no longer there, with what is said of them."""
    framing: Framing | None = None
    """Framing of the thumbnails; None without thumbnails."""
    folder: Path | None = None
    """Folder that was read; None for images that were put together in another way."""
    same_works: Mapping[str, SkippedImage] = field(default_factory=dict)
    """SHA-256 of files that show the same work as a target and are not measured for that reason, with what is said of
    them; only where works were asked for (`imgaudit.runs.works`)."""

    @property
    def count(self) -> int:
        """Files given."""
        return len(self.targets) + len(self.gone) + len(self.skipped) + len(self.same_works)


def read_portfolio(
    folder: Path,
    captions: CaptionSource,
    prompts: CaptionSource | None = None,
    *,
    framing: Framing | None = None,
    cache: ScreeningCache | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Portfolio:
    """Screen every image of a folder with its texts; unreadable files and second copies become skipped.

    framing:  of the thumbnails that near-duplicates are told by; None when nobody will ask
    cache:    what earlier audits found

    Raises InputError when the folder holds no image file at all.
    """
    listing = list_images(folder)
    if not listing.images and not listing.refused:
        own = describe_own_output(listing.own, folder)
        raise InputError(
            f"{format_path(folder)!r} holds no image files (.png, .jpg, .webp, .tif, ...)" + (f"; {own}" if own else "")
        )
    fitted = captions.fit(listing.images)
    asked = prompts.fit(listing.images) if prompts is not None else None
    targets: dict[str, Target] = {}
    skipped = [SkippedImage(path=format_path(path), skipped=reason) for path, reason in listing.refused]
    cache = cache or ScreeningCache(None)
    for screened in screen(listing.images, cache, framing=framing, on_progress=on_progress):
        path = format_path(screened.path)
        if screened.facts is None:
            refused = f"the file {screened.refused}"
            skipped.append(SkippedImage(path=path, skipped=refused, sha256=screened.sha256))
        elif screened.facts.sha256 in targets:
            first = format_path(targets[screened.facts.sha256].path)
            identical = f"the file is identical to {first}: the result of that file is also the result of this one"
            skipped.append(SkippedImage(path=path, skipped=identical, sha256=screened.facts.sha256))
        else:
            targets[screened.facts.sha256] = _make_target(screened, screened.facts, fitted, asked)
    remarks = [*fitted.remarks, *(asked.remarks if asked else ()), *_make_remarks(folder, listing, cache)]
    if captions.sidecars and listing.stray:
        remarks.append(_describe_stray(listing.stray, folder))
    return Portfolio([targets[sha256] for sha256 in sorted(targets)], skipped, remarks, framing=framing, folder=folder)


def _make_target(screened: Screened, facts: ImageFacts, captions: FolderTexts, prompts: FolderTexts | None) -> Target:
    texts: dict[Rung, list[str]] = {}
    if prompts is not None and (given := prompts.find(screened.path).texts):
        texts[Rung.PROMPT] = given
    caption = captions.find(screened.path, facts)
    if caption.texts:
        texts[Rung.CAPTION] = caption.texts
        facts = facts.model_copy(update={"notes": (*facts.notes, f"{CAPTION_FROM}{caption.source}")})
    return Target(screened.path, facts, texts, screened.thumbnail, screened.pdq)


def _make_remarks(folder: Path, listing: Listing, cache: ScreeningCache) -> list[str]:
    remarks = [format_path(sentence)] if (sentence := describe_own_output(listing.own, folder)) else []
    if others := listing.others:
        kinds = ", ".join(f"{kind[:20]} {count}" for kind, count in others.most_common(5))
        files = (
            "1 file that is not an image" if (total := others.total()) == 1 else f"{total:,} files that are not images"
        )
        remarks.append(f"left out: {files} by name ({kinds})")
    return [*remarks, cache.problem] if cache.problem else remarks


def _describe_stray(stray: Sequence[Path], folder: Path) -> str:
    """Name text files that look like captions and are not used, because a misspelt name would go unnoticed."""
    named = ", ".join(repr(format_path(path.relative_to(folder).as_posix())[:80]) for path in stray[:3])
    more = f" and {len(stray) - 3:,} more" if len(stray) > 3 else ""
    belong = "1 text file belongs" if len(stray) == 1 else f"{len(stray):,} text files belong"
    return (
        f"{belong} to no image, and no caption was read from {'it' if len(stray) == 1 else 'them'}: {named}{more}. "
        "A caption is named like its image, such as fox.txt beside fox.png"
    )
