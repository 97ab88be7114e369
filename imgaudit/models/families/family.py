"""A family of models: its pipeline class, the parts of it with the classes they may have, and its adapter."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from imgaudit.exceptions import ModelRefusedError

NEVER_LOADED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that an audit does without. Whatever their folders hold is not opened."""


@dataclass(frozen=True)
class Component:
    """A part of a pipeline that is loaded."""

    role: Literal["network", "tokenizer", "scheduler", "guider"]
    """Kind of part, which decides how it is checked and loaded."""
    library: Literal["diffusers", "transformers"]
    """Library of its class."""
    classes: tuple[str, ...] = ()
    """Classes it may have, of which the first is loaded, but of schedulers the one that is named; a scheduler without
    them may have any that samples noise."""
    stem: str = ""
    """Name of a network's files of weights, without its suffix."""
    loaded_as: str = ""
    """Class of transformers that is loaded in place of the named ones, where these do more than is needed."""
    is_processor: bool = False
    """True for a tokenizer that the pipeline calls as a processor."""
    text_encoder: str = ""
    """The network that a tokenizer's tokens go to."""
    optional: bool = False
    """True where the pipeline does without it when model_index.json says null."""
    names_length: bool = True
    """False for a tokenizer of whose model_max_length the pipeline makes no use."""


@dataclass(frozen=True)
class Family:
    """Models of one pipeline class."""

    pipeline_class: str
    """diffusers class name."""
    title: str
    """Common name."""
    components: Mapping[str, Component]
    """Everything that is loaded, by name."""
    adapter: str
    """Its Denoiser as module:class, which takes (pipeline, fingerprint, device)."""
    inverted: str
    """What an inversion optimises, in words; `imgaudit doctor --model` and docs/guides/models.md say it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the pipeline besides its components."""
    switches: tuple[str, ...] = ()
    """Keys of model_index.json that are handed to the pipeline: true or false, where they are given."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Keys of model_index.json that have one value in all models, which the pipeline has by default."""
    half: Literal["float16", "bfloat16"] = "float16"
    """The type of the weights on a GPU: the one whose range the family was trained for."""
    never_loaded: tuple[str, ...] = NEVER_LOADED
    """Components that are left out, because no image that is generated from text passes through them."""

    def present(self, index: Mapping[str, Any], role: str = "") -> dict[str, Component]:
        """Return the components of one model by name, without absent text encoders and their tokenizers.

        index:  its model_index.json, which was inspected
        role:   "network", "tokenizer", "scheduler" or "guider"; by default any
        """
        # What is there and is no list is refused by its own message.
        absent = {name for name, one in self.components.items() if one.optional and index.get(name) in (None, ABSENT)}
        return {
            name: one
            for name, one in self.components.items()
            if name not in absent and one.text_encoder not in absent and role in ("", one.role)
        }

    @property
    def text_encoders(self) -> list[str]:
        """Names of the networks that read the prompt."""
        return [one.text_encoder for one in self.components.values() if one.text_encoder]

    @property
    def denoising_network(self) -> str:
        """Name of the network that denoises."""
        return next(name for name in ("unet", "transformer") if name in self.components)

    @property
    def is_supported(self) -> bool:
        """True where this version has the adapter."""
        return importlib.util.find_spec(self.adapter.partition(":")[0]) is not None

    @property
    def notes(self) -> list[str]:
        """A sentence for reports, where the adapter is of another package."""
        if self.adapter.startswith("imgaudit."):
            return []
        return [f"its adapter is {self.adapter!r:.99}, which is no part of imgaudit but of an installed package"]

    def load_adapter(self) -> Any:
        """Import the adapter's class. Raises ModelRefusedError when this version has none."""
        module, _, name = self.adapter.partition(":")
        adapter = getattr(import_module(module), name, None) if self.is_supported else None
        if adapter is None:
            raise ModelRefusedError(
                f"{self.pipeline_class!r:.80} is not supported by this version: {self.adapter!r:.99} is not there"
            )
        return adapter


ABSENT = [None, None]
"""Entry in model_index.json for a component that a model does without."""
