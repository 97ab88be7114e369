"""Everything that says how alike two pictures are: our descriptors, and what others use for finding duplicates."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from imgaudit.io.framing import to_tensor
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors import DESCRIPTOR_NAMES, Descriptor, compare_vectors, load_descriptor

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
        size = (descriptor.side, descriptor.side)
        squares = [to_tensor(one.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)) for one in pictures]
        return list(descriptor.describe(torch.stack(squares))) if squares else []

    def compare(one: Any, others: Sequence[Any]) -> Sequence[float]:
        return (
            compare_vectors(descriptor, np.repeat(one[None], len(others), axis=0), np.stack(others)) if others else []
        )

    return Measure(descriptor.name, descriptor.source, prepare, compare)


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
