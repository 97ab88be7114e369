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
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the pipeline besides its components."""
    switches: tuple[str, ...] = ()
    """Keys of model_index.json that are handed to the pipeline: true or false, where they are given."""
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

    def load_adapter(self) -> Any:
        """Import the adapter's class. Raises ModelRefusedError when this version has none."""
        module, _, name = self.adapter.partition(":")
        adapter = getattr(import_module(module), name, None) if self.is_supported else None
        if adapter is None:
            raise make_unsupported_error(self.pipeline_class)
        return adapter


ABSENT = [None, None]
"""Entry in model_index.json for a component that a model does without."""


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


def _components(
    network: tuple[str, str],
    autoencoder: str,
    scheduler: Component,
    *text_encoders: tuple[str, str],
    optional: str = "",
) -> dict[str, Component]:
    """Return the components of a pipeline, by the names that diffusers gives them.

    network:        name and class of the network that denoises
    text_encoders:  class of each and of its tokenizer, in the pipeline's order
    optional:       class of a text encoder that the pipeline does without where model_index.json says null
    """
    ends = ["", *(f"_{number}" for number in range(2, len(text_encoders) + 1))][: len(text_encoders)]
    encoders, tokenizers = {}, {}
    for end, (encoder, tokenizer) in zip(ends, text_encoders, strict=True):
        encoders[f"text_encoder{end}"] = Component(
            "network", "transformers", (encoder,), "model", optional=encoder == optional
        )
        # transformers has one class under both names; which of them a model says depends on when it was saved.
        classes = (tokenizer, f"{tokenizer}Fast")
        tokenizers[f"tokenizer{end}"] = Component(
            "tokenizer", "transformers", classes, text_encoder=f"text_encoder{end}"
        )
    networks = {
        name: Component("network", "diffusers", (class_name,), "diffusion_pytorch_model")
        for name, class_name in (network, ("vae", autoencoder))
    }
    return {**encoders, **networks, **tokenizers, "scheduler": scheduler}


_NOISE = Component("scheduler", "diffusers")
_FLOW = Component("scheduler", "diffusers", ("FlowMatchEulerDiscreteScheduler",))
_FLOW_SOLVER = Component("scheduler", "diffusers", ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"))

_CLIP = ("CLIPTextModel", "CLIPTokenizer")
_PROJECTED_CLIP = ("CLIPTextModelWithProjection", "CLIPTokenizer")
_T5 = ("T5EncoderModel", "T5Tokenizer")
_GEMMA = ("Gemma2Model", "GemmaTokenizer")
_QWEN = ("Qwen2_5_VLForConditionalGeneration", "Qwen2Tokenizer")
_SD3 = (_PROJECTED_CLIP, _PROJECTED_CLIP, _T5)
_BYTES = ("T5EncoderModel", "ByT5Tokenizer")
_QWEN_3_VL = {
    "text_encoder": Component("network", "transformers", ("Qwen3VLForConditionalGeneration",), "model"),
    "processor": Component(
        "tokenizer", "transformers", ("Qwen3VLProcessor",), loaded_as="Qwen2Tokenizer", is_processor=True,
        text_encoder="text_encoder",
    ),
}  # fmt: skip
_QWEN_AND_CLIP = {
    "text_encoder": Component("network", "transformers", ("Qwen2_5_VLForConditionalGeneration",), "model"),
    "tokenizer": Component(
        "tokenizer", "transformers", ("Qwen2_5_VLProcessor", "Qwen2VLProcessor"), loaded_as="Qwen2Tokenizer",
        is_processor=True, text_encoder="text_encoder",
    ),
    "text_encoder_2": Component("network", "transformers", ("CLIPTextModel",), "model"),
    "tokenizer_2": Component(
        "tokenizer", "transformers", ("CLIPTokenizer", "CLIPTokenizerFast"), text_encoder="text_encoder_2"
    ),
}  # fmt: skip
_GUIDER = Component("guider", "diffusers", ("AdaptiveProjectedMixGuidance",), optional=True)
_UNET = ("unet", "UNet2DConditionModel")

_ALL = (
    Family(
        "StableDiffusionPipeline",
        "Stable Diffusion 1.x and 2.x",
        _components(_UNET, "AutoencoderKL", _NOISE, _CLIP),
        "imgaudit.models.families.unet:UNetDenoiser",
        {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    ),
    Family(
        "StableDiffusionXLPipeline",
        "Stable Diffusion XL",
        _components(_UNET, "AutoencoderKL", _NOISE, _CLIP, _PROJECTED_CLIP),
        "imgaudit.models.families.sdxl:SDXLDenoiser",
        # The watermark would be part of every image that is compared.
        {"add_watermarker": False},
        ("force_zeros_for_empty_prompt",),
    ),
    Family(
        "StableDiffusion3Pipeline",
        "Stable Diffusion 3 and 3.5",
        _components(("transformer", "SD3Transformer2DModel"), "AutoencoderKL", _FLOW, *_SD3, optional="T5EncoderModel"),
        "imgaudit.models.families.sd3:SD3Denoiser",
    ),
    Family(
        "FluxPipeline",
        "FLUX.1",
        _components(("transformer", "FluxTransformer2DModel"), "AutoencoderKL", _FLOW, _CLIP, _T5),
        "imgaudit.models.families.flux:FluxDenoiser",
        half="bfloat16",
    ),
    Family(
        "PixArtSigmaPipeline",
        "PixArt-Sigma",
        _components(("transformer", "PixArtTransformer2DModel"), "AutoencoderKL", _NOISE, _T5),
        "imgaudit.models.families.pixart:PixArtDenoiser",
    ),
    Family(
        "SanaPipeline",
        "Sana",
        _components(("transformer", "SanaTransformer2DModel"), "AutoencoderDC", _FLOW_SOLVER, _GEMMA),
        "imgaudit.models.families.sana:SanaDenoiser",
        half="bfloat16",
    ),
    Family(
        "QwenImagePipeline",
        "Qwen-Image",
        _components(("transformer", "QwenImageTransformer2DModel"), "AutoencoderKLQwenImage", _FLOW, _QWEN),
        "imgaudit.models.families.qwen_image:QwenImageDenoiser",
        half="bfloat16",
    ),
    Family(
        "QwenImage21Pipeline",
        "Qwen-Image 2.1",
        {
            **_components(("transformer", "QwenImage21Transformer2DModel"), "AutoencoderKLQwenImage21", _FLOW),
            **_QWEN_3_VL,
        },
        "imgaudit.models.families.qwen_image_21:QwenImage21Denoiser",
        half="bfloat16",
    ),
    Family(
        "HunyuanImagePipeline",
        "HunyuanImage 2.1",
        {
            **_components(
                ("transformer", "HunyuanImageTransformer2DModel"), "AutoencoderKLHunyuanImage", _FLOW, _QWEN, _BYTES
            ),
            "guider": _GUIDER,
            "ocr_guider": _GUIDER,
        },
        "imgaudit.models.families.hunyuan_image:HunyuanImageDenoiser",
        half="bfloat16",
    ),
    Family(
        "Kandinsky5T2IPipeline",
        "Kandinsky 5",
        {
            **_components(("transformer", "Kandinsky5Transformer3DModel"), "AutoencoderKL", _FLOW),
            **_QWEN_AND_CLIP,
        },
        "imgaudit.models.families.kandinsky5:Kandinsky5Denoiser",
        half="bfloat16",
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.pipeline_class: family for family in _ALL})
"""Families by the pipeline class that model_index.json names."""
