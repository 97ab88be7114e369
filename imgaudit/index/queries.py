"""What a collection is asked about: images, folders of images, or files of vectors, a few at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from imgaudit.exceptions import ImageError, InputError
from imgaudit.index.block import check_block
from imgaudit.index.describing import FRAMING, ImageEntry, describe_entries, find_descriptor, find_image_side
from imgaudit.index.faiss_file import Vectors
from imgaudit.index.image_folders import list_entries
from imgaudit.index.manifest import DescriptorRecord
from imgaudit.index.names import Names
from imgaudit.index.vector_files import NpyVectors
from imgaudit.index.views import WHOLE, Views, describe_views, has_views
from imgaudit.io.images import load_image
from imgaudit.io.reading import format_path
from imgaudit.schema.records import SkippedImage

BLOCK = 64
"""Images that are described together."""


@dataclass(frozen=True)
class Queries:
    """A few queries."""

    names: list[str]
    """Names of the queries, one per vector."""
    vectors: Vectors
    """Vectors of the collection's descriptor."""
    skipped: list[SkippedImage]
    """Images that cannot be asked about, with the reasons."""
    paths: list[Path] = field(default_factory=list)
    """Files of the images, one per vector; none where vectors were given."""


def read_queries(paths: Sequence[Path], descriptor: DescriptorRecord) -> Iterator[Queries]:
    """Describe images as the collection's own were; the vectors of .npy files are taken as they are.

    Raises InputError when the collection's descriptor cannot describe images, or is of another version here.
    """
    images: list[Path] = []
    for path in paths:
        if path.suffix.lower() == ".npy" and not path.is_dir():
            yield from _read_vectors(path, descriptor)
        else:
            images.append(path)
    items = (item for path in images for item in (list_entries(path) if path.is_dir() else [ImageEntry(path)]))
    own = None
    while block := list(islice(items, BLOCK)):
        own = own or find_descriptor(descriptor.name)
        known = None if own is None else (own.source, own.dimension, own.binary, find_image_side(own), FRAMING)
        made = (descriptor.source, descriptor.dimension, descriptor.binary, descriptor.side, descriptor.framing)
        if own is None or known != made:
            raise InputError(
                f"the collection holds vectors of {descriptor.name!r} ({descriptor.source}), which cannot be made of "
                "images here: ask with an .npy file of such vectors"
            )
        described = describe_entries(own, block)
        yield Queries(
            [format_path(item.path) for item in described.items if item.reason is None],
            described.vectors,
            [SkippedImage(path=format_path(item.path), skipped=item.reason) for item in described.items if item.reason],
            [item.path for item in described.items if item.reason is None],
        )


def describe_query_views(queries: Queries, descriptor: DescriptorRecord) -> Iterator[Views]:
    """Yield the views of every query, in order.

    A query that was given as a vector has only that, and so has an image for whose descriptor there are no views.
    """
    own = find_descriptor(descriptor.name) if queries.paths and has_views(descriptor.name) else None
    if own is None:
        yield from (Views.of_vector(vector, WHOLE if queries.paths else "") for vector in queries.vectors)
        return
    for path, vector in zip(queries.paths, queries.vectors, strict=True):
        try:
            image = load_image(path).pixels
        except ImageError:
            # It was read a moment ago, and its vector is here.
            yield Views.of_vector(vector, WHOLE)
        else:
            yield describe_views(own, image, vector)


def _read_vectors(path: Path, descriptor: DescriptorRecord) -> Iterator[Queries]:
    file = NpyVectors(path)
    row = 0
    for vectors, _ in file.read(0, 1024):
        names = Names(
            [f"{format_path(path)}#{number}" for number in range(row, row + len(vectors))], [""] * len(vectors)
        )
        row += len(vectors)
        if (file.binary, file.columns * (8 if file.binary else 1)) != (descriptor.binary, descriptor.dimension):
            raise InputError(
                f"{format_path(path)!r} holds {file.columns} numbers a vector, but descriptor {descriptor.name!r} has "
                f"{descriptor.dimension} {'bits' if descriptor.binary else 'floats'}"
            )
        block = check_block(names, vectors, binary=file.binary, refuse_names=False)
        yield Queries(list(block.names.ids), block.vectors, block.skipped)
