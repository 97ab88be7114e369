"""Tiny pipelines of the real classes around diffusion transformers, one maker per family."""

from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKLQwenImage,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)

from imgaudit.models.transformer import TransformerDenoiser
from imgaudit.models.transformer_families import TRANSFORMER_FAMILIES
from tests.tiny_families import autoencoder, clip_config, clip_tokenizer, t5_encoder, t5_tokenizer

SIDE = 8
"""Of the latents; the images have twice as many pixels."""


def randomise(network: torch.nn.Module) -> None:
    """Give every weight a value: final layers start at zero, and a network that says nothing passes any test."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)


def make_sd3(with_t5: bool = True, **scheduler: Any) -> StableDiffusion3Pipeline:
    """T5 is wider than both CLIP encoders together, as in the real one, so that their states are filled up."""
    torch.manual_seed(8)
    tokenizer, t5 = clip_tokenizer(), t5_tokenizer()
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


def gemma_tokenizer() -> GemmaTokenizer:
    """Letters, and BOS before every prompt."""
    specials = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    vocabulary = {piece: number for number, piece in enumerate([*specials, "▁", *"abcdefghijklmnopqrstuvwxyz.,:'-"])}
    return GemmaTokenizer(vocab=vocabulary, merges=[], add_bos_token=True)


def make_sana(with_flow_solver: bool = True) -> SanaPipeline:
    """Flows sampled with DPM-Solver, as the models are shipped, or with Euler's steps; a deep autoencoder."""
    torch.manual_seed(11)
    tokenizer = gemma_tokenizer()
    transformer = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=32,
        sample_size=SIDE,
    )  # fmt: skip
    randomise(transformer)
    vae = AutoencoderDC(
        latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8), encoder_qkv_multiscales=((), (), (5,)),
        decoder_qkv_multiscales=((), (), (5,)), encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1), downsample_block_type="conv", upsample_block_type="interpolate",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41,
    )  # fmt: skip
    text_encoder = Gemma2Model(
        Gemma2Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
                     num_attention_heads=2, num_key_value_heads=1, head_dim=16)
    )  # fmt: skip
    solver = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return SanaPipeline(
        transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer,
        scheduler=solver if with_flow_solver else FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def make_qwen_image() -> QwenImagePipeline:
    """A language model that reads a template, and latents scaled channel by channel."""
    torch.manual_seed(12)
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>"]
    tokenizer = Qwen2Tokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    text_encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16,
                         "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
                         "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}},
            vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                           "out_hidden_size": 16},
        )
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    randomise(transformer)
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0],
    )  # fmt: skip
    pipeline = QwenImagePipeline(
        transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
    )  # fmt: skip
    # The pipeline sets 128 for every model.
    pipeline.default_sample_size = SIDE
    return pipeline


MAKERS = {
    "sd3": make_sd3,
    "sd3 without t5": lambda: make_sd3(with_t5=False),
    "flux dev": make_flux,
    "flux schnell": lambda: make_flux(guidance_embeds=False),
    "pixart": make_pixart,
    "sana": make_sana,
    "qwen image": make_qwen_image,
}
"""A pipeline by the name tests know it by."""


def adapt(pipeline: Any) -> TransformerDenoiser:
    return TRANSFORMER_FAMILIES[type(pipeline).__name__](pipeline, "fingerprint")
