"""The families of models that can be audited: of each, the components, the classes they may have, and its adapter.

To add a family:

1. Write its adapter, families/NAME.py: a subclass of `LatentDenoiser` (latent.py), or of `TransformerDenoiser`
   (transformer.py) for a diffusion transformer. It says which streams prompts become, how the network is called and how
   the pipeline samples. sd3.py and pixart.py are short examples.
2. Add its entry to `_ALL` below: pipeline class, name, components with their classes, adapter.
3. Add a tiny model of the real classes to tests/support/tiny_families.py; the tests of all families then run on it.
4. Add the configuration of a published model, models/published_models/NAME.json, so that memory can be planned for it.
5. Add its row to the table in docs/guides/models.md, and its name to the README.

A tokenizer of a new class needs its check in models/files/vocabularies.py, and a family that comes as
a single file needs its layout in models/files/single_file.py.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

from imgaudit.exceptions import ModelRefusedError

NEVER_LOADED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that an audit does without. Whatever their folders hold is not opened."""


@dataclass(frozen=True)
class Component:
    """A part of a pipeline that is loaded."""

    role: Literal["network", "tokenizer", "scheduler"]
    """What is checked of it, and how it is loaded."""
    library: Literal["diffusers", "transformers"]
    """Where its class comes from."""
    classes: tuple[str, ...] = ()
    """Classes it may have, of which the first is loaded, but of schedulers the one that is named; a scheduler without
    them may have any that samples noise."""
    stem: str = ""
    """How a network's files of weights are called."""
    text_encoder: str = ""
    """The network that a tokenizer's tokens go to."""
    optional: bool = False
    """Whether the pipeline does without it where model_index.json says null."""


@dataclass(frozen=True)
class Family:
    """Models of one pipeline class."""

    pipeline_class: str
    """diffusers class name."""
    title: str
    """What people call them."""
    components: Mapping[str, Component]
    """Everything that is loaded, by name."""
    adapter: str
    """Its Denoiser as module:class, which takes (pipeline, fingerprint, device)."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the pipeline is made with besides its components."""
    switches: tuple[str, ...] = ()
    """Keys of model_index.json that are handed to the pipeline: true or false, where they are given."""
    half: Literal["float16", "bfloat16"] = "float16"
    """The type of the weights on a GPU: the one whose range the family was trained for."""
    never_loaded: tuple[str, ...] = NEVER_LOADED
    """Components that are left out, because no image that is generated from text passes through them."""

    def present(self, index: Mapping[str, Any], role: str = "") -> dict[str, Component]:
        """Return the components of one model by name, without absent text encoders and their tokenizers.

        index:  its model_index.json, which was inspected
        role:   "network", "tokenizer" or "scheduler"; by default any
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
    def is_supported(self) -> bool:
        """Whether this version has the adapter."""
        return importlib.util.find_spec(self.adapter.partition(":")[0]) is not None

    def load_adapter(self) -> Any:
        """Import the adapter's class. Raises ModelRefusedError when this version has none."""
        module, _, name = self.adapter.partition(":")
        adapter = getattr(import_module(module), name, None) if self.is_supported else None
        if adapter is None:
            raise make_unsupported_error(self.pipeline_class)
        return adapter


ABSENT = [None, None]
"""What model_index.json says of a component that a model does without."""


def make_unsupported_error(pipeline_class: str) -> ModelRefusedError:
    """Return the refusal of a pipeline class without an adapter, with those that have one."""
    known = " or ".join(f"{name} ({family.title})" for name, family in FAMILIES.items() if family.is_supported)
    return ModelRefusedError(f"{pipeline_class!r:.80} is not supported by this version, which audits {known}")


def find_family(pipeline_class: str) -> Family:
    """Return the family of a pipeline class. Raises ModelRefusedError for one that this version does not support."""
    family = FAMILIES.get(pipeline_class)
    if family is None or not family.is_supported:
        raise make_unsupported_error(pipeline_class)
    return family


def _text_encoder(class_name: str, optional: bool = False) -> Component:
    return Component("network", "transformers", (class_name,), "model", optional=optional)


def _network(class_name: str) -> Component:
    return Component("network", "diffusers", (class_name,), "diffusion_pytorch_model")


def _tokenizer(class_name: str, text_encoder: str) -> Component:
    # transformers has one class under both names; which of them a model says depends on when it was saved.
    return Component("tokenizer", "transformers", (class_name, f"{class_name}Fast"), text_encoder=text_encoder)


_NOISE = Component("scheduler", "diffusers")
_FLOW = Component("scheduler", "diffusers", ("FlowMatchEulerDiscreteScheduler",))
_FLOW_SOLVER = Component("scheduler", "diffusers", ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"))

_ALL = (
    Family(
        "StableDiffusionPipeline",
        "Stable Diffusion 1.x and 2.x",
        {
            "text_encoder": _text_encoder("CLIPTextModel"),
            "unet": _network("UNet2DConditionModel"),
            "vae": _network("AutoencoderKL"),
            "tokenizer": _tokenizer("CLIPTokenizer", "text_encoder"),
            "scheduler": _NOISE,
        },
        "imgaudit.models.families.unet:UNetDenoiser",
        {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    ),
    Family(
        "StableDiffusionXLPipeline",
        "Stable Diffusion XL",
        {
            "text_encoder": _text_encoder("CLIPTextModel"),
            "text_encoder_2": _text_encoder("CLIPTextModelWithProjection"),
            "unet": _network("UNet2DConditionModel"),
            "vae": _network("AutoencoderKL"),
            "tokenizer": _tokenizer("CLIPTokenizer", "text_encoder"),
            "tokenizer_2": _tokenizer("CLIPTokenizer", "text_encoder_2"),
            "scheduler": _NOISE,
        },
        "imgaudit.models.families.sdxl:SDXLDenoiser",
        # The watermark would be part of every image that is compared.
        {"add_watermarker": False},
        ("force_zeros_for_empty_prompt",),
    ),
    Family(
        "StableDiffusion3Pipeline",
        "Stable Diffusion 3 and 3.5",
        {
            "text_encoder": _text_encoder("CLIPTextModelWithProjection"),
            "text_encoder_2": _text_encoder("CLIPTextModelWithProjection"),
            "text_encoder_3": _text_encoder("T5EncoderModel", optional=True),
            "transformer": _network("SD3Transformer2DModel"),
            "vae": _network("AutoencoderKL"),
            "tokenizer": _tokenizer("CLIPTokenizer", "text_encoder"),
            "tokenizer_2": _tokenizer("CLIPTokenizer", "text_encoder_2"),
            "tokenizer_3": _tokenizer("T5Tokenizer", "text_encoder_3"),
            "scheduler": _FLOW,
        },
        "imgaudit.models.families.sd3:SD3Denoiser",
    ),
    Family(
        "FluxPipeline",
        "FLUX.1",
        {
            "text_encoder": _text_encoder("CLIPTextModel"),
            "text_encoder_2": _text_encoder("T5EncoderModel"),
            "transformer": _network("FluxTransformer2DModel"),
            "vae": _network("AutoencoderKL"),
            "tokenizer": _tokenizer("CLIPTokenizer", "text_encoder"),
            "tokenizer_2": _tokenizer("T5Tokenizer", "text_encoder_2"),
            "scheduler": _FLOW,
        },
        "imgaudit.models.families.flux:FluxDenoiser",
        half="bfloat16",
    ),
    Family(
        "PixArtSigmaPipeline",
        "PixArt-Sigma",
        {
            "text_encoder": _text_encoder("T5EncoderModel"),
            "transformer": _network("PixArtTransformer2DModel"),
            "vae": _network("AutoencoderKL"),
            "tokenizer": _tokenizer("T5Tokenizer", "text_encoder"),
            "scheduler": _NOISE,
        },
        "imgaudit.models.families.pixart:PixArtDenoiser",
    ),
    Family(
        "SanaPipeline",
        "Sana",
        {
            "text_encoder": _text_encoder("Gemma2Model"),
            "transformer": _network("SanaTransformer2DModel"),
            "vae": _network("AutoencoderDC"),
            "tokenizer": _tokenizer("GemmaTokenizer", "text_encoder"),
            "scheduler": _FLOW_SOLVER,
        },
        "imgaudit.models.families.sana:SanaDenoiser",
        half="bfloat16",
    ),
    Family(
        "QwenImagePipeline",
        "Qwen-Image",
        {
            "text_encoder": _text_encoder("Qwen2_5_VLForConditionalGeneration"),
            "transformer": _network("QwenImageTransformer2DModel"),
            "vae": _network("AutoencoderKLQwenImage"),
            "tokenizer": _tokenizer("Qwen2Tokenizer", "text_encoder"),
            "scheduler": _FLOW,
        },
        "imgaudit.models.families.qwen_image:QwenImageDenoiser",
        half="bfloat16",
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.pipeline_class: family for family in _ALL})
"""Families by the pipeline class that model_index.json names."""
