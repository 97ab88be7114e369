"""What a collection is asked about: images, folders of images, or files of vectors, a few at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from imgaudit.exceptions import InputError
from imgaudit.index.block import checked_block
from imgaudit.index.describing import FRAMING, Item, describe_items, find_descriptor, side_of
from imgaudit.index.faiss_file import Vectors
from imgaudit.index.image_folders import folder_items
from imgaudit.index.manifest import DescriptorRecord
from imgaudit.index.names import Names
from imgaudit.index.vector_files import NpyVectors
from imgaudit.io.reading import path_text
from imgaudit.schema.records import SkippedImage

BLOCK = 64
"""Images that are described together."""


@dataclass(frozen=True)
class Queries:
    """A few queries."""

    names: list[str]
    """What is asked about, one per vector."""
    vectors: Vectors
    """Of the collection's descriptor."""
    skipped: list[SkippedImage]
    """What cannot be asked about, with the reasons."""


def read_queries(paths: Sequence[Path], descriptor: DescriptorRecord) -> Iterator[Queries]:
    """Describe images as the collection's own were; the vectors of .npy files are taken as they are.

    Raises InputError when the collection's descriptor cannot describe images, or is of another version here.
    """
    images: list[Path] = []
    for path in paths:
        if path.suffix.lower() == ".npy" and not path.is_dir():
            yield from _vectors(path, descriptor)
        else:
            images.append(path)
    items = (item for path in images for item in (folder_items(path) if path.is_dir() else [Item(path)]))
    own = None
    while block := list(islice(items, BLOCK)):
        own = own or find_descriptor(descriptor.name)
        known = None if own is None else (own.source, own.dimension, own.binary, side_of(own), FRAMING)
        made = (descriptor.source, descriptor.dimension, descriptor.binary, descriptor.side, descriptor.framing)
        if own is None or known != made:
            raise InputError(
                f"the collection holds vectors of {descriptor.name!r} ({descriptor.source}), which cannot be made of "
                "images here: ask with an .npy file of such vectors"
            )
        described = describe_items(own, block)
        yield Queries(
            [path_text(item.path) for item in described.items if item.reason is None],
            described.vectors,
            [SkippedImage(path=path_text(item.path), skipped=item.reason) for item in described.items if item.reason],
        )


def _vectors(path: Path, descriptor: DescriptorRecord) -> Iterator[Queries]:
    file = NpyVectors(path)
    row = 0
    for vectors, _ in file.read(0, 1024):
        names = Names([f"{path_text(path)}#{number}" for number in range(row, row + len(vectors))], [""] * len(vectors))
        row += len(vectors)
        if (file.binary, file.columns * (8 if file.binary else 1)) != (descriptor.binary, descriptor.dimension):
            raise InputError(
                f"{path_text(path)!r} holds {file.columns} numbers a vector, but descriptor {descriptor.name!r} has "
                f"{descriptor.dimension} {'bits' if descriptor.binary else 'floats'}"
            )
        block = checked_block(names, vectors, binary=file.binary, refuse_names=False)
        yield Queries(list(block.names.ids), block.vectors, block.skipped)
