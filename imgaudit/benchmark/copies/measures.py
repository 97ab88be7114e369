"""Everything that says how alike two pictures are: our descriptors, and what others use for finding duplicates."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from imgaudit.index.building import DEFAULT_DESCRIPTOR
from imgaudit.index.views import Views, describe_views
from imgaudit.io.framing import to_tensor
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors import DESCRIPTOR_NAMES, Descriptor, compare_vectors, load_descriptor

VIEWS_OF_COPY, VIEWS_OF_ORIGINAL = "detail, views of copy", "detail, views of original"
"""Search of a collection of originals with all views of a copy, and of copies with those of an original."""

HASHES = ("phash", "dhash", "whash", "average_hash")
"""Functions of imagehash that give a hash for a whole picture."""

SEGMENTS = "crop_resistant_hash"
"""The function that gives a hash for every segment."""

METHODS = ("PHash", "DHash", "WHash", "AHash")
"""Classes of imagededup that need no weights."""


@dataclass(frozen=True)
class Measure:
    """One way to compare pictures."""

    name: str
    """As it is printed."""
    source: str
    """Which library or weights."""
    prepare: Callable[[Sequence[Image.Image]], Sequence[Any]]
    """RGB pictures to whatever is compared."""
    compare: Callable[[Any, Sequence[Any]], Sequence[float]]
    """One prepared picture with several; higher is more alike."""


def available_measures(*, slow: bool = False) -> tuple[list[Measure], dict[str, Skipped]]:
    """Those that this machine has, ours first, and why the others are left out.

    slow:  with imagehash's hash of segments, which takes a quarter of a second for a picture
    """
    measures: list[Measure] = []
    skipped: dict[str, Skipped] = {}
    for name in DESCRIPTOR_NAMES:
        loaded = load_descriptor(name)
        if isinstance(loaded, Skipped):
            skipped[name] = loaded
        else:
            measures.append(descriptor_measure(loaded))
            if name == DEFAULT_DESCRIPTOR:
                measures += views_measures(loaded)
    hashes = (*HASHES, SEGMENTS) if slow else HASHES
    for package, made in (("imagehash", partial(_imagehash, hashes)), ("imagededup", _imagededup)):
        if importlib.util.find_spec(package) is None:
            skipped[package] = Skipped(skipped=f"not installed: pip install {package}")
        else:
            measures += made()
    if SEGMENTS not in hashes or "imagehash" in skipped:
        skipped["imagehash crop-resistant"] = Skipped(skipped="a quarter of a second for a picture; --slow adds it")
    skipped["imagededup CNN"] = Skipped(skipped="its weights would have to be fetched, which benchmarks do not do")
    return measures, skipped


def descriptor_measure(descriptor: Descriptor) -> Measure:
    """A descriptor, each picture squashed to the square it asks for before it is seen, as in an audit."""

    def prepare(pictures: Sequence[Image.Image]) -> Sequence[Any]:
        squares = [_squash(descriptor, one) for one in pictures]
        return list(descriptor.describe(torch.stack(squares))) if squares else []

    def compare(one: Any, others: Sequence[Any]) -> Sequence[float]:
        return (
            compare_vectors(descriptor, np.repeat(one[None], len(others), axis=0), np.stack(others)) if others else []
        )

    return Measure(descriptor.name, descriptor.source, prepare, compare)


class _Viewed:
    """A picture with the vector that a collection holds of it, and its views, which are described when first asked."""

    def __init__(self, descriptor: Descriptor, picture: Image.Image) -> None:
        self.descriptor, self.picture = descriptor, picture
        self.vector = descriptor.describe(_squash(descriptor, picture)[None])[0]

    @cached_property
    def views(self) -> Views:
        return describe_views(self.descriptor, self.picture, self.vector)


def views_measures(descriptor: Descriptor) -> Iterator[Measure]:
    """Yield the search of a collection with all views of a query, in either direction."""

    def prepare(pictures: Sequence[Image.Image]) -> Sequence[_Viewed]:
        return [_Viewed(descriptor, one) for one in pictures]

    def find(query: _Viewed, stored: Sequence[_Viewed]) -> Sequence[float]:
        similarities = query.views.vectors @ np.stack([one.vector for one in stored]).T
        return [float(one) for one in (similarities - query.views.allowances[:, None]).max(axis=0)]

    yield Measure(VIEWS_OF_COPY, descriptor.source, prepare,
                  lambda one, others: [find(other, [one])[0] for other in others])  # fmt: skip
    yield Measure(VIEWS_OF_ORIGINAL, descriptor.source, prepare, lambda one, others: find(one, others))


def _squash(descriptor: Descriptor, picture: Image.Image) -> torch.Tensor:
    size = (descriptor.side, descriptor.side)
    return to_tensor(picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def _imagehash(hashes: Sequence[str]) -> Iterator[Measure]:
    import imagehash

    version = importlib.metadata.version("imagehash")
    for name in hashes:
        function = getattr(imagehash, name)
        yield Measure(
            f"imagehash {name.removesuffix('_hash').replace('_', '-')}",
            f"imagehash {version}, {'a hash per segment' if name == SEGMENTS else '64 bits'}",
            lambda pictures, function=function: [function(one) for one in pictures],  # type: ignore[misc]
            lambda one, others: [-float(one - other) for other in others],
        )


def _imagededup() -> Iterator[Measure]:
    from imagededup import methods

    version = importlib.metadata.version("imagededup")
    for name in METHODS:
        method = getattr(methods, name)(verbose=False)

        def prepare(pictures: Sequence[Image.Image], method: Any = method) -> Sequence[int]:
            return [int(method.encode_image(image_array=np.asarray(one)), 16) for one in pictures]

        yield Measure(f"imagededup {name}", f"imagededup {version}, 64 bits", prepare, _bits_apart)


def _bits_apart(one: int, others: Sequence[int]) -> Sequence[float]:
    return [-float((one ^ other).bit_count()) for other in others]
