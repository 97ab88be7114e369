"""The untrained parts of a lab model: ordinary diffusers and transformers classes, small."""

import json
from collections.abc import Iterable
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from imgaudit.lab.recipe import LabRecipe

BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(captions: Iterable[str], recipe: LabRecipe) -> CLIPTokenizer:
    """Train a CLIPTokenizer whose byte-pair merges are learned from the captions.

    The result splits, lower-cases and pads as CLIP's own does; only the vocabulary is smaller.
    """
    outline = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(unk_token=EOS, end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = outline.pre_tokenizer
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        # The trainer numbers word-final letters in the order of a hash table, which differs from run to run, and breaks
        # ties between merges by these numbers. Naming them beforehand fixes the numbers, as CLIP's vocabulary does.
        special_tokens=[BOS, EOS, *letters, *(f"{letter}</w>" for letter in letters)],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(sorted(set(captions)), trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=recipe.text_positions)


def build_autoencoder(recipe: LabRecipe) -> AutoencoderKL:
    """Build an untrained AutoencoderKL; its weights depend on the recipe's seed only."""
    levels = len(recipe.vae_channels)
    torch.manual_seed(recipe.seed)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=recipe.vae_channels,
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=8,
        sample_size=recipe.resolution,
    )


def compute_latent_side(recipe: LabRecipe) -> int:
    """Return the side of the latents: the autoencoder halves the side at every level but the last."""
    return recipe.resolution // 2 ** (len(recipe.vae_channels) - 1)


def build_clip_config(recipe: LabRecipe, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Return the sizes of a CLIP text encoder for `tokenizer`."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        intermediate_size=4 * recipe.text_width,
        projection_dim=recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=max(1, recipe.text_width // 32),
        max_position_embeddings=recipe.text_positions,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def build_text_encoder(recipe: LabRecipe, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build an untrained CLIP text encoder for `tokenizer`."""
    torch.manual_seed(recipe.seed + 1)
    return CLIPTextModel(build_clip_config(recipe, tokenizer))


def build_clip(recipe: LabRecipe, tokenizer: CLIPTokenizer, seed: int) -> CLIPTextModelWithProjection:
    """Build an untrained CLIP text encoder with a pooled vector; `seed` is added to the recipe's."""
    torch.manual_seed(recipe.seed + seed)
    return CLIPTextModelWithProjection(build_clip_config(recipe, tokenizer))


def build_unet(recipe: LabRecipe, **options: Any) -> UNet2DConditionModel:
    """Build an untrained UNet2DConditionModel; `options` are arguments that Stable Diffusion does not set."""
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in recipe.unet_attention)
    up = tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(recipe.unet_attention))
    torch.manual_seed(recipe.seed + 2)
    sizes: dict[str, Any] = {"cross_attention_dim": recipe.text_width} | options
    return UNet2DConditionModel(
        sample_size=compute_latent_side(recipe),
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=recipe.unet_channels,
        layers_per_block=1,
        # diffusers reads this as the number of heads, whatever it is called.
        attention_head_dim=4,
        norm_num_groups=16,
        **sizes,
    )


def build_scheduler(recipe: LabRecipe) -> DDIMScheduler:
    """Build Stable Diffusion's schedule: scaled linear 0.00085..0.012, 1,000 steps, DDIM without clipping.

    With zero terminal SNR, sampling starts at the last timestep, which is noise alone, as training has it.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=recipe.prediction_type,
        rescale_betas_zero_snr=recipe.zero_terminal_snr,
        timestep_spacing="trailing" if recipe.zero_terminal_snr else "leading",
    )
