"""The families of models that can be audited: of each, the components, the classes they may have, and its adapter.

docs/guides/adding-a-family.md says how to add one, here or in a package of your own.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import NEVER_LOADED, Component, Family
from imgaudit.models.families.refused import MODULAR, REFUSED


def make_unsupported_error(pipeline_class: str) -> ModelRefusedError:
    """Return the refusal of a pipeline class without an adapter: the reason if it is known, and those that have one."""
    modular = MODULAR if pipeline_class.endswith("ModularPipeline") else None
    if reason := REFUSED.get(pipeline_class, modular):
        return ModelRefusedError(f"{pipeline_class!r} is not supported by this version: {reason}")
    families = {**load_installed_families(), **FAMILIES}
    known = " or ".join(f"{name} ({family.title})" for name, family in families.items() if family.is_supported)
    return ModelRefusedError(f"{pipeline_class!r:.80} is not supported by this version, which audits {known}")


ENTRY_POINTS = "imgaudit.families"
"""Group of entry points by which installed packages offer families of their own: each names a `Family`."""


@cache
def load_installed_families() -> Mapping[str, Family]:
    """Return the families of installed packages, by pipeline class; those of this version come first.

    Importing them runs their code, which whoever installed the package agreed to; what a model brings never is.
    Raises ModelRefusedError for an entry point that cannot be imported, or names anything but a `Family`.
    """
    found: dict[str, Family] = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            family = point.load()
        except Exception as error:
            raise ModelRefusedError(
                f"the family {point.name!r:.80} of an installed package cannot be imported "
                f"({type(error).__name__}: {error!s:.200}); repair or uninstall that package"
            ) from error
        if not isinstance(family, Family):
            raise ModelRefusedError(
                f"the entry point {point.name!r:.80} of {ENTRY_POINTS} names a {type(family).__name__}; not a Family"
            )
        found.setdefault(family.pipeline_class, family)
    return found


def find_family(pipeline_class: str) -> Family:
    """Return the family of a pipeline class.

    Raises ModelRefusedError for one that neither this version nor an installed package supports.
    """
    family = FAMILIES.get(pipeline_class) or load_installed_families().get(pipeline_class)
    if family is None or not family.is_supported:
        raise make_unsupported_error(pipeline_class)
    return family


_PROCESSORS = {"PixtralProcessor": "TokenizersBackend"}
"""Tokenizers that prepare images as well, and the class that reads the tokenizer.json in them without that."""


def _components(
    network: tuple[str, ...],
    autoencoder: str,
    scheduler: Component,
    *text_encoders: tuple[str, ...],
    optional: str = "",
    names_length: bool = True,
) -> dict[str, Component]:
    """Return the components of a pipeline, by the names that diffusers gives them.

    network:        name and class of the network that denoises, and former names of the class
    text_encoders:  class of each and of its tokenizer, and other names of this, in the pipeline's order
    optional:       class of a text encoder that the pipeline does without where model_index.json says null
    names_length:   False where the pipeline has its own numbers of tokens, whatever its tokenizers say
    """
    ends = ["", *(f"_{number}" for number in range(2, len(text_encoders) + 1))][: len(text_encoders)]
    encoders, tokenizers = {}, {}
    for end, (encoder, tokenizer, *others) in zip(ends, text_encoders, strict=True):
        encoders[f"text_encoder{end}"] = Component(
            "network", "transformers", (encoder,), "model", optional=encoder == optional
        )
        # transformers has one class under both names; which of them a model says depends on when it was saved.
        standard = (tokenizer,) if tokenizer in _PROCESSORS else (tokenizer, f"{tokenizer}Fast")
        classes = (tokenizer, *others) if others else standard
        tokenizers[f"tokenizer{end}"] = Component(
            "tokenizer", "transformers", classes, loaded_as=_PROCESSORS.get(tokenizer, ""),
            text_encoder=f"text_encoder{end}", names_length=names_length,
        )  # fmt: skip
    networks = {
        name: Component("network", "diffusers", tuple(classes), "diffusion_pytorch_model")
        for name, *classes in (network, ("vae", autoencoder))
    }
    return {**encoders, **networks, **tokenizers, "scheduler": scheduler}


_NOISE = Component("scheduler", "diffusers")
_FLOW = Component("scheduler", "diffusers", ("FlowMatchEulerDiscreteScheduler",))
_CONSISTENCY = Component("scheduler", "diffusers", ("LCMScheduler",))
_FLOW_UNIPC = Component("scheduler", "diffusers", ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"))
_FLOW_SOLVER = Component("scheduler", "diffusers", ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"))

_CLIP = ("CLIPTextModel", "CLIPTokenizer")
_PROJECTED_CLIP = ("CLIPTextModelWithProjection", "CLIPTokenizer")
_T5 = ("T5EncoderModel", "T5Tokenizer")
_GEMMA = ("Gemma2Model", "GemmaTokenizer")
_MISTRAL = ("Mistral3ForConditionalGeneration", "PixtralProcessor")
_QWEN3 = ("Qwen3ForCausalLM", "Qwen2Tokenizer")
_QWEN3_MODEL = ("Qwen3Model", "Qwen2Tokenizer")
_QWEN3_VL = ("Qwen3VLModel", "Qwen2Tokenizer")
_PILE_T5 = ("UMT5EncoderModel", "LlamaTokenizer")
_BERT = ("BertModel", "BertTokenizer")
_GLM = ("GlmModel", "PreTrainedTokenizerFast", "TokenizersBackend")
# Its tokenizer.json is read as it stands: the class that is named after Llama would put other rules into it.
_LLAMA = ("LlamaForCausalLM", "PreTrainedTokenizerFast", "LlamaTokenizerFast", "LlamaTokenizer", "TokenizersBackend")
_QWEN = ("Qwen2_5_VLForConditionalGeneration", "Qwen2Tokenizer")
_SD3 = (_PROJECTED_CLIP, _PROJECTED_CLIP, _T5)
_HIDREAM = (_PROJECTED_CLIP, _PROJECTED_CLIP, _T5, _LLAMA)
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
# Published under the class that it was split from.
_PIXART = ("transformer", "PixArtTransformer2DModel", "Transformer2DModel")
_UNCHECKED = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

_ALL = (
    Family(
        "StableDiffusionPipeline",
        "Stable Diffusion 1.x and 2.x",
        _components(_UNET, "AutoencoderKL", _NOISE, _CLIP),
        "imgaudit.models.families.unet:UNetDenoiser",
        "the text encoder's states",
        _UNCHECKED,
    ),
    Family(
        "LatentConsistencyModelPipeline",
        "latent consistency models",
        _components(_UNET, "AutoencoderKL", _CONSISTENCY, _CLIP),
        "imgaudit.models.families.lcm:ConsistencyDenoiser",
        "the text encoder's states",
        _UNCHECKED,
    ),
    Family(
        "StableDiffusionXLPipeline",
        "Stable Diffusion XL",
        _components(_UNET, "AutoencoderKL", _NOISE, _CLIP, _PROJECTED_CLIP),
        "imgaudit.models.families.sdxl:SDXLDenoiser",
        "both encoders' states side by side, and the pooled vector",
        # The watermark would be part of every image that is compared.
        {"add_watermarker": False},
        ("force_zeros_for_empty_prompt",),
    ),
    Family(
        "StableDiffusion3Pipeline",
        "Stable Diffusion 3 and 3.5",
        _components(("transformer", "SD3Transformer2DModel"), "AutoencoderKL", _FLOW, *_SD3, optional="T5EncoderModel"),
        "imgaudit.models.families.sd3:SD3Denoiser",
        "CLIP's states, T5's states, and the pooled vectors",
    ),
    Family(
        "FluxPipeline",
        "FLUX.1",
        _components(("transformer", "FluxTransformer2DModel"), "AutoencoderKL", _FLOW, _CLIP, _T5),
        "imgaudit.models.families.flux:FluxDenoiser",
        "T5's states and CLIP's pooled vector",
        half="bfloat16",
    ),
    Family(
        "PixArtSigmaPipeline",
        "PixArt-Sigma",
        _components(_PIXART, "AutoencoderKL", _NOISE, _T5),
        "imgaudit.models.families.pixart:PixArtDenoiser",
        "T5's states, under a mask that hides nothing",
    ),
    Family(
        "PixArtAlphaPipeline",
        "PixArt-alpha",
        _components(_PIXART, "AutoencoderKL", _NOISE, _T5),
        "imgaudit.models.families.pixart:PixArtAlphaDenoiser",
        "T5's states, under a mask that hides nothing",
    ),
    Family(
        "HunyuanDiTPipeline",
        "Hunyuan-DiT",
        _components(("transformer", "HunyuanDiT2DModel"), "AutoencoderKL", _NOISE, _BERT, _T5, names_length=False),
        "imgaudit.models.families.hunyuan_dit:HunyuanDiTDenoiser",
        "BERT's states except [CLS], and T5's, under masks that hide nothing",
        _UNCHECKED,
    ),
    Family(
        "AuraFlowPipeline",
        "AuraFlow",
        _components(("transformer", "AuraFlowTransformer2DModel"), "AutoencoderKL", _FLOW, _PILE_T5),
        "imgaudit.models.families.aura_flow:AuraFlowDenoiser",
        "the states of T5 (the Pile's), also in place of its rows of zeros",
        # In float16 its autoencoder, that of Stable Diffusion XL, overflows.
        half="bfloat16",
    ),
    Family(
        "Lumina2Pipeline",
        "Lumina-Image 2.0",
        _components(("transformer", "Lumina2Transformer2DModel"), "AutoencoderKL", _FLOW, _GEMMA),
        "imgaudit.models.families.lumina2:Lumina2Denoiser",
        "Gemma's states except BOS, under a mask that hides nothing",
        half="bfloat16",
    ),
    Family(
        "CogView4Pipeline",
        "CogView4",
        _components(("transformer", "CogView4Transformer2DModel"), "AutoencoderKL", _FLOW, _GLM),
        "imgaudit.models.families.cogview4:CogView4Denoiser",
        "the language model's states of the empty prompt, 16 rows",
        half="bfloat16",
    ),
    Family(
        "SanaPipeline",
        "Sana",
        _components(("transformer", "SanaTransformer2DModel"), "AutoencoderDC", _FLOW_SOLVER, _GEMMA),
        "imgaudit.models.families.sana:SanaDenoiser",
        "Gemma's states except BOS, under a mask that hides nothing",
        half="bfloat16",
    ),
    Family(
        "QwenImagePipeline",
        "Qwen-Image",
        _components(("transformer", "QwenImageTransformer2DModel"), "AutoencoderKLQwenImage", _FLOW, _QWEN),
        "imgaudit.models.families.qwen_image:QwenImageDenoiser",
        "the language model's states of the empty prompt and the template's end",
        half="bfloat16",
    ),
    Family(
        "Flux2Pipeline",
        "FLUX.2 dev",
        _components(("transformer", "Flux2Transformer2DModel"), "AutoencoderKLFlux2", _FLOW, _MISTRAL),
        "imgaudit.models.families.flux2:Flux2Denoiser",
        "three layers of Mistral's states, side by side, padding included",
        half="bfloat16",
    ),
    Family(
        "Flux2KleinPipeline",
        "FLUX.2 klein",
        _components(("transformer", "Flux2Transformer2DModel"), "AutoencoderKLFlux2", _FLOW, _QWEN3),
        "imgaudit.models.families.flux2:Flux2KleinDenoiser",
        "three layers of Qwen3's states, side by side, padding included",
        switches=("is_distilled",),
        half="bfloat16",
    ),
    Family(
        "ZImagePipeline",
        "Z-Image",
        _components(("transformer", "ZImageTransformer2DModel"), "AutoencoderKL", _FLOW, _QWEN3_MODEL),
        "imgaudit.models.families.z_image:ZImageDenoiser",
        "Qwen3's states of the template around an empty prompt",
        half="bfloat16",
    ),
    Family(
        "Krea2Pipeline",
        "Krea 2",
        _components(("transformer", "Krea2Transformer2DModel"), "AutoencoderKLQwenImage", _FLOW, _QWEN3_VL),
        "imgaudit.models.families.krea2:Krea2Denoiser",
        "twelve layers of Qwen3-VL's states of the template's end, side by side",
        switches=("is_distilled",),
        constants={"patch_size": 2, "text_encoder_select_layers": [2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35]},
        half="bfloat16",
    ),
    Family(
        "Ideogram4Pipeline",
        "Ideogram 4",
        {
            **_components(("transformer", "Ideogram4Transformer2DModel"), "AutoencoderKLFlux2", _FLOW, _QWEN3_VL),
            "unconditional_transformer": Component(
                "network", "diffusers", ("Ideogram4Transformer2DModel",), "diffusion_pytorch_model"
            ),
        },
        "imgaudit.models.families.ideogram4:Ideogram4Denoiser",
        "thirteen layers of Qwen3-VL's states of the template around an empty prompt, side by side",
        half="bfloat16",
        # It rewrites prompts, where it is asked to.
        never_loaded=(*NEVER_LOADED, "prompt_enhancer_head"),
    ),
    Family(
        "ChromaPipeline",
        "Chroma",
        _components(("transformer", "ChromaTransformer2DModel"), "AutoencoderKL", _FLOW, _T5),
        "imgaudit.models.families.chroma:ChromaDenoiser",
        "T5's states, under a mask that weighs all rows alike",
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
        "the language model's states of the empty prompt and the template around it",
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
        "16 rows of the language model's states; none of quoted words",
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
        "16 rows of the language model's states, and CLIP's pooled vector",
        half="bfloat16",
    ),
    Family(
        "HiDreamImagePipeline",
        "HiDream-I1",
        _components(
            ("transformer", "HiDreamImageTransformer2DModel"),
            "AutoencoderKL",
            _FLOW_UNIPC,
            *_HIDREAM,
            names_length=False,
        ),
        "imgaudit.models.families.hidream:HiDreamDenoiser",
        "T5's states, all layers of Llama's, and both CLIP vectors, padding included",
        half="bfloat16",
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.pipeline_class: family for family in _ALL})
"""Families by the pipeline class that model_index.json names."""
