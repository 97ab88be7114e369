"""A folder's files, sorted: images to audit, entries that cannot be read, and other files; each is accounted for."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imgaudit.exceptions import InputError
from imgaudit.io.own_output import name_own_output

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".avif", ".ppm",
     ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpc", ".j2c", ".jpf", ".jpx", ".jpm", ".mpo", ".heic", ".heif",
     ".heics", ".heifs", ".hif", ".avifs", ".avci", ".jxl", ".jxr", ".apng", ".ico", ".tga", ".icb", ".vda", ".vst",
     ".qoi", ".psd", ".psb", ".xcf", ".svg", ".eps", ".hdr", ".exr", ".insp", ".jps", ".tf8", ".btf", ".dng", ".crw",
     ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".srw", ".raf", ".orf", ".rw2", ".rwl", ".raw", ".pef",
     ".ptx", ".x3f", ".3fr", ".fff", ".iiq", ".mos", ".mef", ".mrw", ".dcr", ".kdc", ".k25", ".erf", ".gpr", ".arq",
     ".ori", ".eip", ".cap", ".bay", ".rwz", ".cs1", ".pxn", ".wdp", ".hdp", ".pcx", ".pam", ".kra", ".ora", ".clip",
     ".procreate", ".afphoto"}
)  # fmt: skip
"""File names with these endings are taken as images when a folder is listed, also those of formats that cannot be
decoded: they end as skipped, with the reason, instead of being passed over."""

TEXT_SUFFIXES = frozenset(
    {".txt", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".md", ".xml", ".xmp", ".toml", ".yaml", ".parquet"}
)
"""Files with these endings belong beside images and need no mention."""

CAPTION_SUFFIX = ".txt"
"""A file with this ending, and otherwise named like an image beside it, holds the image's caption."""

LINK = "the entry is a symbolic link, which is not followed: give the file or folder itself"
"""The reason why a link is not read."""


@dataclass(frozen=True)
class Listing:
    """The files below a folder."""

    images: list[Path]
    """Files with an image suffix, sorted by path; whether each can be read is found out one by one."""
    refused: list[tuple[Path, str]]
    """Links and folders that cannot be listed, with why they are not read: images may lie behind them."""
    own: list[tuple[Path, str]] = field(default_factory=list)
    """Folders that imgaudit itself wrote, with what they are: nothing in them is read."""
    others: Counter[str] = field(default_factory=Counter)
    """Other files that are no images by their names, or hidden: how many per suffix."""
    stray: list[Path] = field(default_factory=list)
    """Text files that would be captions, but are named like no image beside them, sorted by path."""


def list_images(folder: Path) -> Listing:
    """List everything below `folder`. Links are never followed.

    Raises InputError when `folder` is not a folder that can be listed.
    """
    listing = Listing([], [])
    for part in walk_images(folder):
        listing.images.extend(part.images)
        listing.refused.extend(part.refused)
        listing.own.extend(part.own)
        listing.others.update(part.others)
        listing.stray.extend(part.stray)
    listing.images.sort()
    listing.refused.sort()
    listing.stray.sort()
    return listing


def walk_images(folder: Path) -> Iterator[Listing]:
    """Yield what is directly in `folder` and in every folder below it, one listing each, always in the same order.

    Folders below it that imgaudit wrote are named and not entered; `folder` itself was chosen, so it is. Memory is in
    proportion to the largest folder. Raises InputError when `folder` cannot be listed.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of images, but {str(folder)!r} is not a folder")
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        listing, below = Listing([], []), list[Path]()
        try:
            entries = list(os.scandir(parent))
        except OSError as error:
            if parent == folder:
                raise InputError(f"the folder {str(folder)!r} cannot be listed: {error.strerror}") from error
            listing.refused.append((parent, f"the folder cannot be listed: {error.strerror}"))
            entries = []
        own = name_own_output(parent, {entry.name for entry in entries}) if parent != folder else ""
        if own:
            listing.own.append((parent, own))
            entries = []
        for entry in entries:
            _sort_in(entry, listing, below)
        captions = {path.with_suffix(CAPTION_SUFFIX) for path in listing.images}
        listing.stray[:] = sorted(path for path in listing.stray if path.with_suffix(CAPTION_SUFFIX) not in captions)
        listing.images.sort()
        listing.refused.sort()
        waiting += sorted(below, reverse=True)
        yield listing


def _sort_in(entry: "os.DirEntry[str]", listing: Listing, waiting: list[Path]) -> None:
    path = Path(entry.path)
    suffix = path.suffix.lower()
    if entry.name.startswith("."):
        listing.others["hidden"] += 1
    elif entry.is_symlink():
        # A link to a folder has no suffix to go by, and a dangling one shows nothing at all.
        if suffix in IMAGE_SUFFIXES or path.is_dir():
            listing.refused.append((path, LINK))
        else:
            listing.others[suffix or "no suffix"] += 1
    elif entry.is_dir(follow_symlinks=False):
        waiting.append(path)
    elif suffix in IMAGE_SUFFIXES:
        listing.images.append(path)
    elif suffix == CAPTION_SUFFIX:
        listing.stray.append(path)
    elif suffix not in TEXT_SUFFIXES:
        listing.others[suffix or "no suffix"] += 1


def find_images(folder: Path) -> list[Path]:
    """Return all files with an image suffix below `folder`, sorted by path, without hidden entries and links.

    Raises InputError when `folder` is not a folder.
    """
    return list_images(folder).images


def describe_own_output(own: list[tuple[Path, str]], folder: Path) -> str:
    """Return a sentence that names folders below `folder` that imgaudit wrote; empty without one."""
    if not own:
        return ""
    named = ", ".join(f"{path.relative_to(folder).as_posix()!r} ({what})" for path, what in own[:3])
    more = f" and {len(own) - 3:,} more" if len(own) > 3 else ""
    return f"not read, because imgaudit wrote it: {named}{more}"
