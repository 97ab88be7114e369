"""Pipelines of diffusers that make images of text and are not audited, each with the reason and what to do."""

from collections.abc import Mapping
from types import MappingProxyType

NO_ADAPTER = "this version has no adapter for it; docs/guides/adding-a-family.md says how to write one"
CASCADE = "two models in a row, of which the second sees no prompt but what the first made of it"
DISCRETE = "it predicts tokens of a codebook and no noise, velocity or flow, so that there is no denoising error"
MODULAR = (
    "it is a modular pipeline of diffusers: its parts come from wherever its modular_model_index.json says, and its "
    "steps can be exchanged, so that there is no one pipeline to check an adapter against; expected a folder with a "
    "model_index.json"
)
"""Reason for all classes whose names end like that; FLUX.3 has no other."""
PIXELS = "it denoises pixels and not an autoencoder's latents, which this version expects"


def _same_weights(plain: str) -> str:
    return f"it samples a {plain}'s weights in another way; name {plain} in model_index.json to audit these"


def _takes_more(plain: str) -> str:
    return f"its images depend on more than text; audit the {plain} that it is built around"


_GROUPS: Mapping[str, tuple[str, ...]] = {
    _same_weights("StableDiffusionPipeline"): (
        "StableDiffusionPAGPipeline", "StableDiffusionSAGPipeline", "StableDiffusionPanoramaPipeline",
        "StableDiffusionAttendAndExcitePipeline", "StableDiffusionParadigmsPipeline",
        "SemanticStableDiffusionPipeline", "StableDiffusionModelEditingPipeline",
    ),
    _same_weights("StableDiffusionXLPipeline"): ("StableDiffusionXLPAGPipeline",),
    _same_weights("StableDiffusion3Pipeline"): ("StableDiffusion3PAGPipeline",),
    _same_weights("PixArtSigmaPipeline"): ("PixArtSigmaPAGPipeline",),
    _same_weights("SanaPipeline"): ("SanaPAGPipeline",),
    _same_weights("HunyuanDiTPipeline"): ("HunyuanDiTPAGPipeline",),
    _same_weights("KolorsPipeline"): ("KolorsPAGPipeline",),
    _takes_more("StableDiffusionPipeline"): (
        "StableDiffusionControlNetPipeline", "StableDiffusionControlNetPAGPipeline", "StableDiffusionAdapterPipeline",
        "StableDiffusionControlNetXSPipeline", "StableDiffusionGLIGENPipeline",
        "StableDiffusionGLIGENTextImagePipeline",
    ),
    _takes_more("StableDiffusionXLPipeline"): (
        "StableDiffusionXLControlNetPipeline", "StableDiffusionXLControlNetPAGPipeline",
        "StableDiffusionXLControlNetUnionPipeline", "StableDiffusionXLControlNetXSPipeline",
        "StableDiffusionXLAdapterPipeline",
    ),
    _takes_more("StableDiffusion3Pipeline"): ("StableDiffusion3ControlNetPipeline",),
    _takes_more("FluxPipeline"): ("FluxControlPipeline", "FluxControlNetPipeline", "FluxKontextPipeline"),
    _takes_more("QwenImagePipeline"): ("QwenImageControlNetPipeline",),
    _takes_more("ZImagePipeline"): (
        "ZImageControlNetPipeline", "ZImageControlNetInpaintPipeline", "ZImageOmniPipeline",
    ),
    _takes_more("CogView4Pipeline"): ("CogView4ControlPipeline",),
    _takes_more("HunyuanDiTPipeline"): ("HunyuanDiTControlNetPipeline",),
    _takes_more("SanaPipeline"): ("SanaControlNetPipeline",),
    CASCADE: (
        "KandinskyCombinedPipeline", "KandinskyV22CombinedPipeline", "StableCascadeCombinedPipeline",
        "WuerstchenCombinedPipeline", "UnCLIPPipeline", "StableUnCLIPPipeline",
    ),
    DISCRETE: ("AmusedPipeline", "VQDiffusionPipeline"),
    PIXELS: ("IFPipeline", "PRXPixelPipeline"),
    "it makes films, of which this version can measure no single image": ("HeliosPipeline", "HeliosPyramidPipeline"),
    "it makes an image and its depth at once, which this version cannot compare with an image": (
        "StableDiffusionLDM3DPipeline",
    ),
    "it predicts along an arc (TrigFlow), for which this version has no schedule": ("SanaSprintPipeline",),
    "its networks are ONNX graphs, into which no gradient reaches; audit the model that they were made from": (
        "OnnxStableDiffusionPipeline", "StableDiffusionOnnxPipeline",
    ),
    NO_ADAPTER: (
        "AltDiffusionPipeline", "BriaFibo2Pipeline", "BriaFiboPipeline", "BriaPipeline", "CogView3PlusPipeline",
        "Cosmos2TextToImagePipeline", "DreamLiteMobilePipeline", "DreamLitePipeline", "ErnieImagePipeline",
        "Flux2KleinKVPipeline", "GlmImagePipeline", "Kandinsky3Pipeline", "KolorsPipeline", "LDMTextToImagePipeline",
        "LongCatImagePipeline", "LuminaPipeline", "NucleusMoEImagePipeline", "OmniGenPipeline", "OvisImagePipeline",
        "PRXPipeline", "UniDiffuserPipeline", "VersatileDiffusionTextToImagePipeline",
    ),
}  # fmt: skip

REFUSED: Mapping[str, str] = MappingProxyType({name: reason for reason, names in _GROUPS.items() for name in names})
"""Reasons by pipeline class. Classes that are neither here nor among the families edit images, or make no images."""
