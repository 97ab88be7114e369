from itertools import combinations

import numpy as np
import pytest
import torch

from imgaudit.index.near_duplicates import (
    MOST,
    NEAR_COPY_RMS,
    find_near_duplicates,
)
from imgaudit.io.screening import stack_thumbnails
from imgaudit.similarity.descriptors import PixelDescriptor
from imgaudit.similarity.distances import AlignedRms
from tests.conftest import random_image


def thumbnails(count: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    return stack_thumbnails([random_image(seed + number, (32, 32)).tobytes() for number in range(count)])


def noisy(pictures: np.ndarray, amount: float, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    noise = np.random.default_rng(seed).normal(0, amount, pictures.shape)
    return np.clip(pictures + noise, 0, 255).astype(np.uint8)


def test_near_duplicates_are_found_and_look_alikes_are_not() -> None:
    pictures = thumbnails(3)
    everything = np.concatenate([pictures, noisy(pictures[:1], 6, 0)])
    found = find_near_duplicates("abcd", everything)
    assert [name for name, _ in found["a"]] == ["d"] and [name for name, _ in found["d"]] == ["a"]
    assert found["b"] == found["c"] == []
    assert find_near_duplicates(["a"], everything[:1]) == {"a": []} and find_near_duplicates([], everything[:0]) == {}


def test_every_pair_is_what_brute_force_finds() -> None:
    pictures = thumbnails(60)
    everything = np.concatenate([pictures, noisy(pictures[:20], 8, 2), noisy(pictures[:20], 45, 3)])
    names = [str(number) for number in range(len(everything))]
    found = {(a, b) for a, near in find_near_duplicates(names, everything).items() for b, _ in near}
    images = torch.from_numpy(everything).permute(0, 3, 1, 2).float() / 127.5 - 1
    vectors = PixelDescriptor().describe(images)
    expected = set()
    for a, b in combinations(range(len(everything)), 2):
        correlation = float(vectors[a] @ vectors[b])
        if correlation <= 0.9:
            continue
        contrast = max(everything[a].std(), everything[b].std()) / 255
        toned = contrast * np.sqrt(2 - 2 * correlation) < NEAR_COPY_RMS
        for left, right in ((a, b), (b, a)):
            if toned or float(AlignedRms().measure(images[left][None], images[right][None])[0]) < NEAR_COPY_RMS:
                expected.add((names[left], names[right]))
    assert found == expected and len(expected) >= 40


def test_a_picture_is_its_own_near_duplicate_in_any_brightness_and_contrast() -> None:
    [picture, other] = thumbnails(2).astype(float)
    darker, paler = picture * 0.4, picture * 0.5 + 127
    everything = np.stack([picture, darker, paler, other]).round().astype(np.uint8)
    found = find_near_duplicates("abcd", everything)
    assert {name for name, _ in found["a"]} == {"b", "c"} and not found["d"]


def test_a_folder_of_one_picture_in_many_versions_stays_bounded() -> None:
    [picture] = thumbnails(1)
    versions = noisy(np.repeat(picture[None], 300, axis=0), 2, 4)
    found = find_near_duplicates([str(number) for number in range(300)], versions)
    assert {len(near) for near in found.values()} == {MOST}
    assert all(near[0][1] == pytest.approx(max(value for _, value in near)) for near in found.values())
