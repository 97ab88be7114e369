"""Tiny pipelines of the real classes around diffusion transformers, one maker per family."""

from typing import Any, cast

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from imgaudit.models.families.registry import FAMILIES
from imgaudit.models.families.transformer import TransformerDenoiser
from tests.support.tiny_families import (
    SIDE,
    autoencoder,
    clip_config,
    clip_tokenizer,
    make_qwen_image,
    make_sana,
    randomise,
    t5_encoder,
    t5_tokenizer,
)
from tests.support.tiny_hidream import HIDREAM_DENOISERS
from tests.support.tiny_more_families import ADDED_MAKERS
from tests.support.tiny_newer_families import NEWER_DENOISERS


def make_sd3(with_t5: bool = True, **scheduler: Any) -> StableDiffusion3Pipeline:
    """T5 is wider than both CLIP encoders together, as in the real one, so that their states are filled up, and reads
    more tokens than the pipeline gives it."""
    torch.manual_seed(8)
    tokenizer, t5 = clip_tokenizer(), t5_tokenizer()
    t5.model_max_length = 512
    transformer = SD3Transformer2DModel(
        sample_size=SIDE, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=80, caption_projection_dim=32, pooled_projection_dim=64, out_channels=4,
        pos_embed_max_size=8, qk_norm="rms_norm", dual_attention_layers=(0,),
    )  # fmt: skip
    randomise(transformer)
    config = clip_config(tokenizer)
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(**({"shift": 3.0} | scheduler)),
        vae=autoencoder(4, scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(config), tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(config), tokenizer_2=tokenizer,
        text_encoder_3=t5_encoder(t5, 80) if with_t5 else None, tokenizer_3=t5 if with_t5 else None,
    )  # fmt: skip


def make_flux(guidance_embeds: bool = True) -> FluxPipeline:
    """dev with shifts that depend on the size, or schnell with neither guidance nor a shift."""
    torch.manual_seed(9)
    tokenizer, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=guidance_embeds,
    )  # fmt: skip
    randomise(transformer)
    shifts: dict[str, Any] = {"shift": 3.0, "use_dynamic_shifting": True} if guidance_embeds else {"shift": 1.0}
    pipeline = FluxPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(**shifts),
        vae=autoencoder(4, scaling_factor=0.36, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(clip_config(tokenizer)), tokenizer=tokenizer, text_encoder_2=t5_encoder(t5, 32),
        tokenizer_2=t5,
    )  # fmt: skip
    # The pipeline sets 128 for every model.
    pipeline.default_sample_size = SIDE
    return pipeline


def make_pixart() -> PixArtSigmaPipeline:
    """Noise and its variance predicted under a linear schedule, text under a padding mask."""
    torch.manual_seed(10)
    t5 = t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        sample_size=SIDE, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=32,
        in_channels=4, cross_attention_dim=24, out_channels=8, attention_bias=True, activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000, norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
        use_additional_conditions=False,
    )  # fmt: skip
    randomise(transformer)
    return PixArtSigmaPipeline(
        tokenizer=t5, text_encoder=t5_encoder(t5, 32), vae=autoencoder(4, scaling_factor=0.13),
        transformer=transformer, scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )  # fmt: skip


MAKERS = {
    **{name: make for name, make in ADDED_MAKERS.items() if name != "LatentConsistencyModelPipeline"},
    "sd3": make_sd3,
    "sd3 without t5": lambda: make_sd3(with_t5=False),
    "flux dev": make_flux,
    "flux schnell": lambda: make_flux(guidance_embeds=False),
    "pixart": make_pixart,
    "sana": make_sana,
    "qwen image": make_qwen_image,
    **NEWER_DENOISERS,
    **HIDREAM_DENOISERS,
}
"""A pipeline by the name tests know it by."""


def adapt(pipeline: Any) -> TransformerDenoiser:
    return cast(TransformerDenoiser, FAMILIES[type(pipeline).__name__].load_adapter()(pipeline, "fingerprint"))
