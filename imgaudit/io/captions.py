"""The texts that belong to images: tables given on the command line, sidecars, metadata tables, the file itself."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgaudit.exceptions import InputError
from imgaudit.io.images import ImageFacts
from imgaudit.io.listing import CAPTION_SUFFIX
from imgaudit.io.machine_text import is_machine_text
from imgaudit.io.reading import decode_text, format_path, read_bounded
from imgaudit.io.tables import assign_texts, read_captions
from imgaudit.io.xmp import read_xmp

MAX_CHARACTERS = 4000
"""Longer captions are cut here; every text encoder sees far less."""

MAX_SIDECAR_BYTES = 16 * 1024 * 1024
"""Larger sidecar files are not read."""


def clean_text(text: str) -> str:
    """Return one line without control characters, white space folded, cut at MAX_CHARACTERS.

    >>> clean_text("a\\x1b[31m  b\\n")
    'a[31m b'
    """
    # Only the beginning can be kept, so no more of a long text is looked at.
    text = text[: 16 * MAX_CHARACTERS].replace("\x1b", "")
    kept = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(kept.split())[:MAX_CHARACTERS]


def _clean_texts(texts: Sequence[str]) -> list[str]:
    return [text for text in dict.fromkeys(map(clean_text, texts)) if text]


@dataclass(frozen=True)
class Texts:
    """The texts of one image, and where they come from."""

    texts: list[str]
    """Cleaned, without repetition; none when there are none."""
    source: str
    """In words; empty without texts."""


@dataclass(frozen=True)
class FolderTexts:
    """The texts of a folder's images, fitted to its files."""

    explicit: Mapping[Path, list[str]]
    """From the table that was given."""
    metadata: Mapping[Path, list[str]]
    """From metadata.jsonl, metadata.csv or metadata.parquet."""
    sidecars: bool
    """True when texts beside and inside the images are used."""
    remarks: list[str]
    """Names in tables that fit no image or several."""

    def find(self, path: Path, facts: ImageFacts | None = None) -> Texts:
        """Find one image's texts: in the given table, a .txt or .xmp beside it, the metadata table, or the file."""
        if (texts := self.explicit.get(path)) is not None:
            return Texts(_clean_texts(texts), "the table given")
        if self.sidecars and (text := _read_sidecar(path)) is not None:
            return Texts(_clean_texts([text]), "the sidecar file")
        if self.sidecars and (text := _read_xmp_sidecar(path)) is not None:
            return Texts(_clean_texts([text]), "the XMP sidecar file")
        if (texts := self.metadata.get(path)) is not None:
            return Texts(_clean_texts(texts), "the folder's metadata table")
        if self.sidecars and facts is not None and (own := _clean_texts([facts.caption])):
            return Texts(own, f"the image's own {facts.caption_source}")
        return Texts([], "")


def _read_sidecar(path: Path) -> str | None:
    """Return the text in photo.txt or photo.TXT beside an image, or None when there is none that can be read."""
    for suffix in (CAPTION_SUFFIX, CAPTION_SUFFIX.upper(), CAPTION_SUFFIX.title()):
        try:
            data = read_bounded(path.with_suffix(suffix), MAX_SIDECAR_BYTES, follow_links=False)
        except InputError:
            continue
        # Editors on Windows wrote cp1252 for decades.
        text = decode_text(data, fallback="cp1252")
        # Generators write their settings into such a file, and some programs JSON: no words about the picture.
        return None if is_machine_text(text) else text
    return None


def _read_xmp_sidecar(path: Path) -> str | None:
    """Return the description in photo.jpg.xmp or photo.xmp, the default language first; None without one."""
    for name in (f"{path.name}.xmp", f"{path.name}.XMP", f"{path.stem}.xmp", f"{path.stem}.XMP"):
        sidecar = path.with_name(name)
        try:
            data = read_bounded(sidecar, MAX_SIDECAR_BYTES, follow_links=False)
        except InputError:
            continue
        if found := next((text for text in read_xmp(data).descriptions if not is_machine_text(text)), None):
            return found
    return None


class CaptionSource:
    """Sources of texts: an explicit table, and what lies beside the images where that counts."""

    def __init__(self, folder: Path, table: Path | None = None, *, sidecars: bool = True) -> None:
        """table: what --captions or --prompts names; sidecars: whether texts beside and inside the images are used.

        Without sidecars the table holds prompts, of which an image may have several.
        Raises InputError for tables that cannot be used.
        """
        self.folder, self.sidecars = folder, sidecars
        self.table_name = table.name if table is not None else ""
        self.explicit = read_captions(table, several=not sidecars) if table is not None else {}
        self.metadata: dict[str, list[str]] = {}
        self.metadata_name = ""
        if sidecars and (found := _find_metadata(folder)) is not None:
            self.metadata, self.metadata_name = read_captions(found), found.name

    def fit(self, images: Sequence[Path]) -> FolderTexts:
        """Fit the tables to the images found. Raises InputError when not one name of an explicit table is an image."""
        given = bool(self.table_name)
        explicit, remarks = assign_texts(self.explicit, self.table_name, self.folder, images, strict=given)
        metadata, more = assign_texts(self.metadata, self.metadata_name, self.folder, images)
        remarks = [*remarks, *more]
        texts = dict(metadata)
        for below, own in self._group_by_folder(images) if self.sidecars else ():
            nearer, more = _read_metadata_below(below, self.folder, own)
            texts.update(nearer)
            remarks = [*remarks, *more]
        return FolderTexts(explicit, texts, self.sidecars, remarks)

    def _group_by_folder(self, images: Sequence[Path]) -> list[tuple[Path, list[Path]]]:
        """Return the folders below this one with the images below each, outer folders first."""
        below: defaultdict[Path, list[Path]] = defaultdict(list)
        depth = len(self.folder.parts)
        for path in images:
            for above in path.parents[: len(path.parts) - depth - 1]:
                below[above].append(path)
        return sorted(below.items(), key=lambda item: (len(item[0].parts), item[0]))


def _find_metadata(folder: Path) -> Path | None:
    names = ("metadata.jsonl", "metadata.ndjson", "metadata.csv", "metadata.parquet")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_metadata_below(
    below: Path, folder: Path, images: Sequence[Path]
) -> tuple[Mapping[Path, list[str]], list[str]]:
    """Read the table of a folder below the one that is audited, as data sets keep one for each split.

    Returns texts by image, and remarks. A table that cannot be used is named in a remark: it may be anyone's.
    """
    path = _find_metadata(below)
    if path is None or path.is_symlink():
        return {}, []
    name = format_path(path.relative_to(folder).as_posix())
    try:
        return assign_texts(read_captions(path), name, below, images)
    except InputError as error:
        return {}, [f"{name!r} is not used: {error}"]
