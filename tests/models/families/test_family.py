"""Families that installed packages offer through entry points."""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families import registry
from imgaudit.models.families.family import Family
from imgaudit.models.families.registry import FAMILIES, find_family, load_installed_families

OWN = "imgaudit.models.families.unet:UNetDenoiser"


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """offer(value) makes it what the package `visitor` offers as a family."""
    load_installed_families.cache_clear()

    def offer_family(value: Any) -> None:
        module = ModuleType("visitor")
        module.FAMILY = value  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "visitor", module)
        points = [EntryPoint("visitor", "visitor:FAMILY", registry.ENTRY_POINTS)]
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.ENTRY_POINTS else [])

    yield offer_family
    load_installed_families.cache_clear()


def make_family(pipeline_class: str, adapter: str = OWN) -> Family:
    plain = FAMILIES["StableDiffusionPipeline"]
    return Family(pipeline_class, "Visitor", plain.components, adapter, "its states", plain.arguments)


def test_a_family_of_an_installed_package_is_found(offer: Callable[[Any], None]) -> None:
    offer(make_family("VisitorPipeline"))
    assert find_family("VisitorPipeline").title == "Visitor"
    with pytest.raises(ModelRefusedError, match=r"'OtherPipeline' is not supported .* VisitorPipeline \(Visitor\)"):
        find_family("OtherPipeline")


def test_no_package_takes_the_place_of_a_family_of_this_version(offer: Callable[[Any], None]) -> None:
    offer(make_family("StableDiffusionPipeline"))
    assert find_family("StableDiffusionPipeline") is FAMILIES["StableDiffusionPipeline"]


def test_a_model_is_loaded_with_an_installed_adapter_and_says_so(
    offer: Callable[[Any], None], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(make_family("StableDiffusionPipeline", "visitor:Adapter"))
    from imgaudit.models.families.unet import UNetDenoiser

    sys.modules["visitor"].Adapter = type("Adapter", (UNetDenoiser,), {})  # type: ignore[attr-defined]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(registry, "FAMILIES", {})
    loaded = load_model(str(model_folder), "cpu")
    assert type(loaded.denoiser).__name__ == "Adapter"
    assert "its adapter is 'visitor:Adapter', which is no part of imgaudit" in " ".join(loaded.notes)


def test_what_is_no_family_is_refused_by_the_name_of_its_entry(offer: Callable[[Any], None]) -> None:
    offer("a text")
    with pytest.raises(ModelRefusedError, match=r"the entry point 'visitor' of imgaudit\.families names a str"):
        find_family("OtherPipeline")


def test_a_package_that_cannot_be_imported_is_named(
    offer: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(make_family("VisitorPipeline"))
    monkeypatch.delitem(sys.modules, "visitor")
    with pytest.raises(ModelRefusedError, match="'visitor' of an installed package cannot be imported"):
        find_family("OtherPipeline")
