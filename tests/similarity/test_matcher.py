from pathlib import Path
from typing import Any

import numpy as np
import pdqhash
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.exceptions import ModelRefusedError
from imgaudit.index import FlatIndex
from imgaudit.io.framing import to_tensor
from imgaudit.schema.records import Skipped
from imgaudit.similarity import matcher
from imgaudit.similarity.descriptors import Descriptor, PdqDescriptor, PixelDescriptor, compare_vectors
from imgaudit.similarity.distances import AlignedRms, StructuralDissimilarity, TiledRms
from imgaudit.similarity.matcher import matcher_of, standard_matcher
from tests.conftest import random_image


def pictures(count: int, side: int = 48) -> torch.Tensor:
    return torch.stack([to_tensor(random_image(seed, (side, side))) for seed in range(count)])


def test_pixel_similarity_is_pearson_correlation() -> None:
    images = pictures(2, 32)
    vectors = PixelDescriptor().describe(images)
    expected = np.corrcoef(images.flatten(1).numpy())[0, 1]
    assert compare_vectors(PixelDescriptor(), vectors[:1], vectors[1:])[0] == pytest.approx(expected, abs=1e-5)
    flat = PixelDescriptor().describe(torch.full((1, 3, 32, 32), 0.4))
    assert compare_vectors(PixelDescriptor(), flat, vectors[:1]) == [0.0]


def test_pdq_similarity_is_meta_hamming_distance() -> None:
    images = pictures(2, 128)
    arrays = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    bits = [pdqhash.compute(np.ascontiguousarray(array))[0] for array in arrays]
    vectors = PdqDescriptor().describe(images)
    distance = int((bits[0] != bits[1]).sum())
    assert compare_vectors(PdqDescriptor(), vectors[:1], vectors[1:]) == [1 - distance / 256]


@pytest.mark.parametrize("descriptor", [PixelDescriptor(), PdqDescriptor()])
def test_the_index_agrees_with_sorting_all_similarities(descriptor: PixelDescriptor | PdqDescriptor) -> None:
    vectors = descriptor.describe(pictures(12, 64))
    index = FlatIndex(descriptor)
    index.add([str(n) for n in range(12)], vectors)
    for row, found in enumerate(index.search(vectors, 12)):
        query = np.repeat(vectors[row : row + 1], 12, axis=0)
        brute = sorted(compare_vectors(descriptor, query, vectors), reverse=True)
        assert [n.similarity for n in found] == pytest.approx(brute, abs=1e-5)
        assert found[0].id == str(row)
    assert index.search(vectors[:1], 100)[0][11:] and not FlatIndex(descriptor).search(vectors[:1], 3)[0]
    with pytest.raises(ValueError, match="one vector per id"):
        index.add(["x"], vectors)


@settings(max_examples=20)
@given(offset=st.floats(0, 0.5))
def test_distances_of_a_constant_offset_are_that_offset(offset: float) -> None:
    left = torch.full((1, 3, 32, 32), -0.5)
    right = left + 2 * offset
    for metric in (AlignedRms(), TiledRms()):
        assert float(metric.measure(left, right)[0]) == pytest.approx(offset, abs=1e-6)


def test_alignment_forgives_a_shift_and_tiles_do_not_forgive_one_corner() -> None:
    image = pictures(1)
    shifted = torch.roll(image, (2, -1), dims=(2, 3))
    assert float(AlignedRms().measure(image, shifted)[0]) == pytest.approx(0.0, abs=1e-6)
    corner = image.clone()
    corner[..., :12, :12] = -corner[..., :12, :12]
    whole = float(((image - corner) / 2).square().mean().sqrt())
    assert float(TiledRms().measure(image, corner)[0]) == pytest.approx(4 * whole, rel=1e-4)


@pytest.mark.parametrize("shape", [(16, 16), (48, 33)])
def test_the_best_shift_is_that_of_trying_all(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.rand(5, 3, *shape, generator=generator) * 2 - 1 for _ in range(2))
    right[0] = left[0].roll((1, -1), (1, 2))
    reach = max(1, shape[1] // 16)
    height, width = shape[0] - 2 * reach, shape[1] - 2 * reach
    inner = left[..., reach : reach + height, reach : reach + width]
    tried = torch.stack([
        ((inner - right[..., y : y + height, x : x + width]) / 2).square().flatten(1).mean(dim=1)
        for y in range(2 * reach + 1) for x in range(2 * reach + 1)
    ])  # fmt: skip
    assert torch.allclose(AlignedRms().measure(left, right), tried.amin(dim=0).sqrt(), atol=1e-6)
    assert AlignedRms().measure(left[:0], right[:0]).shape == (0,)


def test_structural_dissimilarity_is_nought_for_equals_and_takes_small_images() -> None:
    generator = torch.Generator().manual_seed(4)
    for side in (4, 7, 32):
        images = torch.rand(2, 3, side, side, generator=generator) * 2 - 1
        assert StructuralDissimilarity().measure(images, images).tolist() == pytest.approx([0, 0], abs=1e-6)
        distance = StructuralDissimilarity().measure(images, -images)
        assert bool((distance > 0.4).all()) and bool((distance <= 1).all())


class Named(PixelDescriptor):
    """Pixels under the name of a network."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> dict[str, Descriptor | Skipped | Exception]:
    """What loading a copy descriptor gives, by its name; the test fills it in."""
    found: dict[str, Any] = {"sscd": Skipped(skipped="no weights"), "sscd-int8": Skipped(skipped="not installed")}

    def load(name: str, weights: Path | None = None, device: object = "cpu") -> Any:
        if isinstance(found[name], Exception):
            raise found[name]
        return found[name]

    monkeypatch.setattr(matcher, "load_descriptor", load)
    matcher._load_copy_descriptor.cache_clear()
    yield found
    matcher._load_copy_descriptor.cache_clear()


def names(found: matcher.Matcher) -> list[str]:
    return [one.name for one in found.descriptors]


def test_the_first_copy_descriptor_that_is_there_is_used(available: dict[str, Any]) -> None:
    available["sscd-int8"] = Named("sscd-int8")
    assert names(standard_matcher(128)[0]) == ["pixel", "pdq", "sscd-int8"]
    assert "sscd" not in standard_matcher(128)[1]


def test_without_weights_every_reason_is_told(available: dict[str, Any]) -> None:
    available["sscd"] = ModelRefusedError("it is damaged")
    found, lacking = standard_matcher(512)
    assert names(found) == ["pixel", "pdq"]
    assert (lacking["sscd"].skipped, lacking["sscd-int8"].skipped) == ("it is damaged", "not installed")


def test_small_images_are_not_given_to_a_copy_descriptor(available: dict[str, Any]) -> None:
    available["sscd"] = Named("sscd")
    found, lacking = standard_matcher(64)
    assert names(found) == ["pixel", "pdq"] and "images of 64 pixels are too small" in lacking["sscd"].skipped


def test_a_run_is_measured_again_by_its_own_descriptor_or_not_at_all(available: dict[str, Any]) -> None:
    available["sscd"] = Named("sscd")
    assert names(matcher_of({"pixel", "pdq"})[0]) == ["pixel", "pdq"]
    assert names(matcher_of({"pixel", "sscd"})[0]) == ["pixel", "pdq", "sscd"]
    found, lacking = matcher_of({"pixel", "sscd-int8"})
    assert names(found) == ["pixel", "pdq"] and lacking["sscd-int8"].skipped == "not installed"


def test_the_copy_descriptor_is_a_key_of_what_is_compared(available: dict[str, Any]) -> None:
    available["sscd"] = Named("sscd")
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    compared = standard_matcher(128)[0].compare(images[0], images)
    assert [list(similarity) for similarity, _ in compared] == [["pixel", "pdq", "sscd"]] * 2
    assert compared[0][0]["sscd"] == pytest.approx(1)
