"""Measures that this machine has, and why it lacks the others."""

from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.schema.records import Skipped
from imgaudit.similarity import matcher
from imgaudit.similarity.descriptors import Descriptor, PixelDescriptor
from imgaudit.similarity.matcher import matcher_of, standard_matcher


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
