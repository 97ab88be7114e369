from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from imgaudit.index import BuildOptions, Collection, SourceInput, build_collection
from imgaudit.index.queries import read_queries
from imgaudit.runs.reference_search import search_reference
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors import PdqDescriptor, PixelDescriptor, describe_judged
from tests.conftest import random_image


class Numbers(PixelDescriptor):
    """A descriptor that gives the numbers it is told to."""

    def __init__(self, vectors: npt.NDArray[np.float32]) -> None:
        self.vectors = vectors

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        return self.vectors


def sky(size: int = 256) -> Image.Image:
    shade = np.linspace(40, 230, size).round().astype(np.uint8)
    return Image.fromarray(np.stack([shade, shade // 2 + 60, np.full_like(shade, 200)], 1)[:, None].repeat(size, 1))


def test_a_hash_of_a_plain_image_means_nothing() -> None:
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain = torch.from_numpy(np.array(sky())).permute(2, 0, 1)[None] / 127.5 - 1
    judged = describe_judged(PdqDescriptor(), torch.cat([noise, plain]))
    assert judged.reasons[0] == "" and "quality 0 of 100" in judged.reasons[1] and len(judged.vectors) == 2


def test_vectors_without_length_or_finite_numbers_mean_nothing() -> None:
    vectors = np.array([[1, 0], [0, 0], [np.nan, 1], [np.inf, 0]], np.float32)
    reasons = describe_judged(Numbers(vectors), torch.eye(2).expand(4, 3, 2, 2)).reasons
    assert reasons[0] == "" and "plain" in reasons[1]
    assert all("no finite numbers" in reason for reason in reasons[2:])


def test_plain_images_are_left_out_of_collections_and_skipped_as_queries(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    sky().save(folder / "sky.png")
    random_image(1).resize((256, 256)).save(folder / "town.png")
    # A fine pattern is a single colour at the 32 pixels of the descriptor `pixel`.
    Image.fromarray((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)).save(folder / "pattern.png")
    for name, plain in (("pdq", "sky.png"), ("pixel", "pattern.png")):
        options = BuildOptions(descriptor=name)
        manifest = build_collection(tmp_path / name, [SourceInput(folder)], options, workers=0)
        collection = Collection.open(tmp_path / name)
        assert plain in {Path(one.path).name for one in collection.skipped()} and manifest.skipped_count >= 1
        skipped = [one for queries in read_queries([folder], manifest.descriptor) for one in queries.skipped]
        assert plain in {Path(one.path).name for one in skipped} and all("plain" in one.skipped for one in skipped)
        found = search_reference(collection, {"a": folder / "town.png", "b": folder / plain})
        left_out = found.find("b")
        assert isinstance(left_out, Skipped) and "plain" in left_out.skipped and set(found.images) == {"a"}
