"""Configurations of published models, from which networks of their sizes are built without their weights."""

import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from pydantic import Field

from imgaudit.exceptions import InputError
from imgaudit.schema.records import Record


class PublishedComponent(Record):
    """A network or a scheduler."""

    class_name: str
    """Name of the class in diffusers or transformers."""
    config: dict[str, Any]
    """Arguments it is built with; the class's own defaults fill in the rest."""


class StatedSize(Record):
    """A published size."""

    networks: list[str]
    """Components that are counted together."""
    parameters: str
    """As it was printed, such as 860M or 2.6B."""
    source: str
    """Place of publication."""

    @property
    def range(self) -> tuple[int, int]:
        """Numbers that are printed like that, rounded or cut, from and up to.

        >>> StatedSize(networks=["unet"], parameters="2.6B", source="").range
        (2550000000, 2700000000)
        """
        digits, decimals, unit = re.fullmatch(r"(\d+)(?:\.(\d+))?([MB])", self.parameters).groups()  # type: ignore[union-attr]
        size, step = {"M": 1e6, "B": 1e9}[unit], 10.0 ** -len(decimals or "")
        stated = float(f"{digits}.{decimals or 0}")
        return round((stated - step / 2) * size), round((stated + step) * size)


class PublishedModel(Record):
    """One model: its parts, and what its prompts become."""

    name: str
    """Common name."""
    repository: str
    """On the hub; its config.json files say what is in `components`."""
    pipeline_class: str
    """Its family."""
    is_compared: bool = True
    """False where no model is compared with it: versions of one shape differ, or only its sizes are known."""
    components: dict[str, PublishedComponent]
    """Every network that the model has, and the scheduler, by the pipeline's name for it."""
    streams: dict[str, tuple[int, int]]
    """Tokens and width of every stream of a condition that an inversion starts from."""
    extras: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Shape of what rides along, of one sample."""
    masks: dict[str, int] = Field(default_factory=dict)
    """Extras that are masks over a stream: name to the number of tokens they leave visible, the first ones."""
    masked_streams: dict[str, str] = Field(default_factory=dict)
    """Stream that a mask is over, by the mask's name, where it is not "text"."""
    blank_masks: dict[str, int] = Field(default_factory=dict)
    """Extras that are masks over other tokens, of which none is visible: name to the number of tokens."""
    stated: list[StatedSize]
    """Published numbers of parameters, which those of the networks have to agree with."""

    def list_masks(self) -> Iterator[tuple[str, int, int]]:
        """List every mask: its name, its tokens, and how many of them it leaves visible."""
        for name, visible in self.masks.items():
            yield name, self.streams[self.masked_streams.get(name, "text")][0], visible
        for name, tokens in self.blank_masks.items():
            yield name, tokens, 0


def read_published_models() -> Iterator[PublishedModel]:
    """Read all published models, in the order of their files' names."""
    folder = resources.files("imgaudit.models") / "published_models"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            yield PublishedModel.model_validate_json(file.read_text(encoding="utf-8"))


def choose_models(names: list[str]) -> list[PublishedModel]:
    """Return the models that are named, or all. Raises InputError for a name that none has."""
    models = {model.name: model for model in read_published_models()}
    if unknown := [name for name in names if name not in models]:
        raise InputError(f"no published model is called {unknown[0]!r:.80}; expected one of {', '.join(models)}")
    return [models[name] for name in names] if names else list(models.values())
