"""Lab models of Stable Diffusion 3's family: an MMDiT that predicts flows, two CLIP text encoders, and T5."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch.nn.functional import pad
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from imgaudit.lab.components import build_clip, compute_latent_side, train_tokenizer
from imgaudit.lab.networks import HEAD, FlowNetworks, Tokens, build_flow_scheduler, pad_tokens
from imgaudit.lab.recipe import LabRecipe

CLIPS = ("text_encoder", "text_encoder_2")
T5 = "text_encoder_3"


def build_t5_tokenizer(captions: Sequence[str], recipe: LabRecipe) -> T5Tokenizer:
    """Build a vocabulary of pieces: the captions' commonest words by their frequency, and letters for all others.

    The trainer of `tokenizers` would learn finer pieces, but not the same ones in every run.
    """
    words = Counter(word for caption in sorted(set(captions)) for word in caption.split())
    letters = sorted({letter for word in words for letter in word})
    common = sorted((word for word, uses in words.items() if uses > 1), key=lambda word: (-words[word], word))
    kept = common[: max(0, recipe.vocabulary - len(letters) - 4)]
    total = sum(words.values())
    pieces = [(f"▁{word}", math.log(words[word] / total)) for word in kept]
    # Less likely than any word, so that a word that is there is never spelt.
    spelling = [(piece, -2 * math.log(total + 1)) for piece in ["▁", *letters]]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*specials, *pieces, *spelling], extra_ids=0, model_max_length=recipe.text_positions)


def build_t5(recipe: LabRecipe, tokenizer: T5Tokenizer) -> T5EncoderModel:
    """Build an untrained T5 encoder for `tokenizer`, without dropout: a caption always gives the same states."""
    torch.manual_seed(recipe.seed + 4)
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=recipe.t5_width,
            d_kv=HEAD,
            d_ff=2 * recipe.t5_width,
            num_layers=recipe.text_layers,
            num_heads=max(1, recipe.t5_width // HEAD),
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )


def build_transformer(recipe: LabRecipe) -> SD3Transformer2DModel:
    """Build an untrained SD3Transformer2DModel."""
    side = compute_latent_side(recipe)
    torch.manual_seed(recipe.seed + 2)
    return SD3Transformer2DModel(
        sample_size=side,
        patch_size=recipe.transformer_patch,
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
        num_layers=recipe.transformer_layers,
        attention_head_dim=HEAD,
        num_attention_heads=recipe.transformer_width // HEAD,
        caption_projection_dim=recipe.transformer_width,
        joint_attention_dim=recipe.t5_width,
        pooled_projection_dim=2 * recipe.text_width,
        pos_embed_max_size=side // recipe.transformer_patch,
        qk_norm="rms_norm",
    )


class SD3Networks(FlowNetworks):
    """Stable Diffusion 3's: states of both CLIPs side by side, then T5's, as one sequence, and CLIP's two vectors."""

    def __init__(self, captions: Sequence[str], recipe: LabRecipe) -> None:
        self.recipe = recipe
        self.tokenizer = train_tokenizer(captions, recipe)
        self.t5_tokenizer = build_t5_tokenizer(captions, recipe)
        self.networks = {
            "transformer": build_transformer(recipe),
            CLIPS[0]: build_clip(recipe, self.tokenizer, seed=1),
            CLIPS[1]: build_clip(recipe, self.tokenizer, seed=3),
            T5: build_t5(recipe, self.t5_tokenizer),
        }

    def token_ids(self, captions: Sequence[str]) -> Tokens:
        """Ids for the CLIPs, which read the same, and for T5."""
        return {CLIPS[0]: pad_tokens(self.tokenizer, captions), T5: pad_tokens(self.t5_tokenizer, captions)}

    def predict_velocity(self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """Call the transformer as the pipeline does."""
        first, second = (self.networks[name](tokens[CLIPS[0]], output_hidden_states=True) for name in CLIPS)
        clip = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        t5 = self.networks[T5](tokens[T5])[0]
        velocity: torch.Tensor = self.networks["transformer"](
            hidden_states=noisy,
            timestep=(timesteps + 1).float(),
            encoder_hidden_states=torch.cat([pad(clip, (0, t5.shape[-1] - clip.shape[-1])), t5], dim=1),
            pooled_projections=torch.cat([first.text_embeds, second.text_embeds], dim=-1),
        ).sample
        return velocity

    def pipeline(self, vae: AutoencoderKL) -> DiffusionPipeline:
        """Return a StableDiffusion3Pipeline."""
        return StableDiffusion3Pipeline(
            vae=vae,
            scheduler=build_flow_scheduler(),
            tokenizer=self.tokenizer,
            tokenizer_2=self.tokenizer,
            tokenizer_3=self.t5_tokenizer,
            **self.networks,
        )
