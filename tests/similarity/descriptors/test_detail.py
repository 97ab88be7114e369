"""The detail descriptor: what it ignores, what it compares, and parts of larger pictures."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from imgaudit.similarity.descriptors import DetailDescriptor, PixelDescriptor, compare_vectors, load_descriptor
from imgaudit.similarity.descriptors.detail import FAINT, REACH, measure_detail


def images(seed: int, side: int = 32) -> torch.Tensor:
    return torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def test_local_contrast_is_that_of_scipy() -> None:
    image = images(1)[:1]
    plane = np.einsum("chw,c->hw", image[0].double().numpy(), (0.299, 0.587, 0.114))
    detail = plane - gaussian_filter(plane, REACH, mode="nearest", radius=8)
    detail /= np.sqrt(gaussian_filter(detail**2, REACH, mode="nearest", radius=8)) + FAINT
    assert measure_detail(image)[0].numpy() == pytest.approx(detail - detail.mean(), abs=1e-4)


def test_light_colour_and_background_have_little_part() -> None:
    own, descriptor = images(2), DetailDescriptor()
    vectors = descriptor.describe(own)
    slope = torch.linspace(-0.15, 0.15, 32).expand(4, 3, 32, 32)
    for changed in (own * 0.5 + 0.2, own + slope, own.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)):
        assert min(compare_vectors(descriptor, vectors, descriptor.describe(changed))) > 0.85
    lit = images(3)[:2] * 0.3 + torch.linspace(-0.7, 0.7, 32)
    apart = {one.name: compare_vectors(one, *np.split(one.describe(lit), 2))[0]
             for one in (descriptor, PixelDescriptor())}  # fmt: skip
    assert apart["pixel"] > 0.8 and apart["detail"] < 0.3


def test_a_plain_image_has_no_detail_and_a_part_only_its_own() -> None:
    descriptor = DetailDescriptor()
    assert not descriptor.describe(torch.full((1, 3, 40, 40), 0.3)).any()
    part = images(4)[:2, :, :16, :20]
    placed = descriptor.describe_within(part, [(0, 0), (12, 16)]).reshape(2, 2, 32, 32)
    assert not placed[0, :, 16:].any() and not placed[0, :, :, 20:].any() and not placed[1, :, :16].any()
    # The same picture in another place takes other paths through the processor, which round differently.
    np.testing.assert_allclose(placed[0, :, :16, :20], placed[1, :, 16:, 12:], atol=1e-5)
    assert np.linalg.norm(placed[0, 0]) == pytest.approx(1, abs=1e-5)
    whole = images(4)[:1]
    inside = descriptor.describe_within(whole[:, :, 8:24, 4:24], [(4, 8)])
    assert 0.3 < compare_vectors(descriptor, inside, descriptor.describe(whole))[0] < 0.7


def test_it_needs_no_weights_and_gives_the_known_answers() -> None:
    loaded = load_descriptor("detail")
    assert isinstance(loaded, DetailDescriptor) and loaded.describe(images(5, 100)).shape == (4, 1024)
