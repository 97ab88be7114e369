"""The diffusion transformers that have an adapter."""

from collections.abc import Mapping
from types import MappingProxyType

from imgaudit.models.flux import FluxDenoiser
from imgaudit.models.pixart import PixArtDenoiser
from imgaudit.models.qwen_image import QwenImageDenoiser
from imgaudit.models.sana import SanaDenoiser
from imgaudit.models.sd3 import SD3Denoiser
from imgaudit.models.transformer import TransformerDenoiser

TRANSFORMER_FAMILIES: Mapping[str, type[TransformerDenoiser]] = MappingProxyType(
    {
        "StableDiffusion3Pipeline": SD3Denoiser,
        "FluxPipeline": FluxDenoiser,
        "PixArtSigmaPipeline": PixArtDenoiser,
        "SanaPipeline": SanaDenoiser,
        "QwenImagePipeline": QwenImageDenoiser,
    }
)
"""Adapters by the pipeline class that model_index.json names."""
