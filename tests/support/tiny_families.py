"""Tiny models of the real classes, one per family, and an adapter that stands in for theirs."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DDIMScheduler,
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
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.lab.components import train_tokenizer
from tests.conftest import CAPTIONS, tiny_recipe

POSITIONS = 16

SIDE = 8
"""Of the latents; the images have twice as many pixels, and Sana's four times."""


def randomise(network: torch.nn.Module) -> None:
    """Give every weight a value: final layers start at zero, and a network that says nothing passes any test."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)


def t5_tokenizer() -> T5Tokenizer:
    """A vocabulary of pieces: the letters, and some words."""
    words = [f"▁{word}" for caption in CAPTIONS for word in caption.split()]
    pieces = ["▁", *dict.fromkeys(words), *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -2.0) for piece in pieces)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=POSITIONS)


def t5_encoder(tokenizer: T5Tokenizer, width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4,
                 feed_forward_proj="gated-gelu")
    )  # fmt: skip


def clip_tokenizer() -> Any:
    return train_tokenizer(CAPTIONS, tiny_recipe(text_positions=POSITIONS))


def clip_config(tokenizer: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=POSITIONS, projection_dim=32, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def autoencoder(channels: int, levels: int = 2, **options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * (levels - 1) + (16,), latent_channels=channels, norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels, **options,
    )  # fmt: skip


def make_sdxl() -> StableDiffusionXLPipeline:
    """Two text encoders, of which the second is projected, and time ids."""
    torch.manual_seed(7)
    tokenizer = clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8, cross_attention_dim=64, attention_head_dim=(2, 4), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 32,
        transformer_layers_per_block=1,
    )  # fmt: skip
    config = clip_config(tokenizer)
    return StableDiffusionXLPipeline(
        vae=autoencoder(4, scaling_factor=0.13), text_encoder=CLIPTextModel(config), tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(config), tokenizer_2=tokenizer, unet=unet, add_watermarker=False,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
    )  # fmt: skip


def make_sd3(with_t5: bool = True) -> StableDiffusion3Pipeline:
    """Three text encoders, the last of which is T5's and may be left out."""
    torch.manual_seed(8)
    tokenizer, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=64, out_channels=4,
        pos_embed_max_size=8,
    )  # fmt: skip
    config = clip_config(tokenizer)
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(4, scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(config), tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(config), tokenizer_2=tokenizer,
        text_encoder_3=t5_encoder(t5, 64) if with_t5 else None, tokenizer_3=t5 if with_t5 else None,
    )  # fmt: skip


def make_flux() -> FluxPipeline:
    """Packed latents, CLIP's pooled vector and T5's states."""
    torch.manual_seed(9)
    tokenizer, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, base_image_seq_len=16),
        vae=autoencoder(4, scaling_factor=0.36, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(clip_config(tokenizer)), tokenizer=tokenizer, text_encoder_2=t5_encoder(t5, 32),
        tokenizer_2=t5,
    )  # fmt: skip


def make_pixart() -> PixArtSigmaPipeline:
    """T5 alone, noise under a schedule of alphas, and the variance beside it."""
    torch.manual_seed(10)
    t5 = t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=1, attention_head_dim=8,
        num_attention_heads=4, cross_attention_dim=32, caption_channels=32, use_additional_conditions=False,
    )  # fmt: skip
    return PixArtSigmaPipeline(
        tokenizer=t5, text_encoder=t5_encoder(t5, 32), vae=autoencoder(4, scaling_factor=0.13),
        transformer=transformer, scheduler=DDIMScheduler(),
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
                         "bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id,
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


MAKERS: dict[str, Callable[[], Any]] = {
    "StableDiffusionXLPipeline": make_sdxl,
    "StableDiffusion3Pipeline": make_sd3,
    "FluxPipeline": make_flux,
    "PixArtSigmaPipeline": make_pixart,
    "SanaPipeline": make_sana,
    "QwenImagePipeline": make_qwen_image,
}


class StandIn:
    """An adapter that holds the pipeline and answers with zeros: for what is checked before any adapter is made."""

    network_name = "network"
    null_network_name = ""
    networks = MappingProxyType({"network": None})
    network_evaluations = 0
    latent_shape = (4, 8, 8)
    resolution = 16
    prediction_type = "flow"

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device) -> None:
        self.pipeline, self.fingerprint, self.device = pipeline, fingerprint, device

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        return PromptEmbeds({"text": torch.zeros(len(prompts), 2, 4)}, {"text": torch.ones(2, dtype=torch.bool)})

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), *self.latent_shape)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(latents), 3, *[latents.shape[-1] * self.resolution // self.latent_shape[1]] * 2)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Any:
        return type("Prediction", (), {"output": noisy})
