"""A tiny Stable Diffusion XL whose two text encoders have vocabularies of their own, as one that spells differs."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from imgaudit.lab.components import train_tokenizer
from imgaudit.models.families.sdxl import SDXLDenoiser
from tests.conftest import CAPTIONS, tiny_recipe

POSITIONS = 16
PROMPTS = ["a red fox", "one old clock"]
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def make_sdxl(kind: str = "epsilon", force_zeros: bool = True, **vae: Any) -> StableDiffusionXLPipeline:
    """Two text encoders of different widths and vocabularies, and a projection of a third width."""
    torch.manual_seed(7)
    # The second tokenizer pads with a token of its own, as the real one does.
    first, second = (
        train_tokenizer(captions, tiny_recipe(text_positions=POSITIONS)) for captions in (CAPTIONS, CAPTIONS[1:])
    )
    second.pad_token = "!"

    def text_encoder(network: type, tokenizer: Any, width: int) -> Any:
        return network(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=width, intermediate_size=37, num_hidden_layers=3,
                num_attention_heads=4, max_position_embeddings=POSITIONS, projection_dim=20,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip

    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8, cross_attention_dim=56, attention_head_dim=(2, 4), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 20,
        transformer_layers_per_block=(1, 2),
    )  # fmt: skip
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 16), latent_channels=4, norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        **({"scaling_factor": 0.13025} | vae),
    )  # fmt: skip
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder, text_encoder=text_encoder(CLIPTextModel, first, 32), tokenizer=first,
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, second, 24), tokenizer_2=second, unet=unet,
        scheduler=DDIMScheduler(prediction_type=kind, clip_sample=False, set_alpha_to_one=False, **SCHEDULE),
        force_zeros_for_empty_prompt=force_zeros, add_watermarker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def latents_for(denoiser: SDXLDenoiser, count: int = 3) -> torch.Tensor:
    return torch.randn((count, *denoiser.latent_shape), generator=torch.Generator().manual_seed(4))
