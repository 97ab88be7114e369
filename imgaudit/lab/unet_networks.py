"""Lab models of the UNet families: Stable Diffusion, and Stable Diffusion XL with two text encoders and sizes."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from imgaudit.lab.components import (
    build_clip,
    build_scheduler,
    build_text_encoder,
    build_unet,
    train_tokenizer,
)
from imgaudit.lab.networks import Batch, LabNetworks, Tokens, pad_tokens
from imgaudit.lab.recipe import LabRecipe

TIME_ID_WIDTH = 16
"""Width of the embedding of each of SDXL's six sizes."""


class SDNetworks(LabNetworks):
    """Stable Diffusion's: a UNet that reads the states of one CLIP text encoder."""

    def __init__(self, captions: Sequence[str], recipe: LabRecipe) -> None:
        self.recipe = recipe
        self.tokenizer = train_tokenizer(captions, recipe)
        self.scheduler: DDIMScheduler = build_scheduler(recipe)
        self.unet = self._build_unet()
        self.networks = {"unet": self.unet, **self._text_encoders()}

    def _build_unet(self) -> UNet2DConditionModel:
        return build_unet(self.recipe)

    def _text_encoders(self) -> dict[str, torch.nn.Module]:
        return {"text_encoder": build_text_encoder(self.recipe, self.tokenizer)}

    def token_ids(self, captions: Sequence[str]) -> Tokens:
        """Return one sequence of ids; all encoders read the same."""
        return {"text_encoder": pad_tokens(self.tokenizer, captions)}

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw all timesteps equally often."""
        return torch.randint(0, self.scheduler.config["num_train_timesteps"], (count,), generator=generator)

    def predict(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The noise, or the velocity."""
        draws = batch.x0, batch.noise, batch.timesteps
        target = batch.noise if self.recipe.prediction_type == "epsilon" else self.scheduler.get_velocity(*draws)
        condition = self._condition(batch.tokens["text_encoder"])
        return self.unet(self.scheduler.add_noise(*draws), batch.timesteps, **condition).sample, target

    def _condition(self, ids: torch.Tensor) -> dict[str, Any]:
        return {"encoder_hidden_states": self.networks["text_encoder"](ids)[0]}

    def pipeline(self, vae: AutoencoderKL) -> StableDiffusionPipeline:
        """Return a StableDiffusionPipeline."""
        return StableDiffusionPipeline(
            vae=vae,
            tokenizer=self.tokenizer,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **self.networks,
        )


class SDXLNetworks(SDNetworks):
    """Stable Diffusion XL's: states of two CLIP text encoders side by side, the second one's vector, and sizes."""

    def _build_unet(self) -> UNet2DConditionModel:
        pooled = self.recipe.text_width
        return build_unet(
            self.recipe,
            cross_attention_dim=2 * self.recipe.text_width,
            addition_embed_type="text_time",
            addition_time_embed_dim=TIME_ID_WIDTH,
            projection_class_embeddings_input_dim=6 * TIME_ID_WIDTH + pooled,
            use_linear_projection=True,
        )

    def _text_encoders(self) -> dict[str, torch.nn.Module]:
        return {
            "text_encoder": build_text_encoder(self.recipe, self.tokenizer),
            "text_encoder_2": build_clip(self.recipe, self.tokenizer, seed=3),
        }

    def _condition(self, ids: torch.Tensor) -> dict[str, Any]:
        first = self.networks["text_encoder"](ids, output_hidden_states=True)
        second = self.networks["text_encoder_2"](ids, output_hidden_states=True)
        side = self.recipe.resolution
        return {
            # The last layer's states are for the pooled vector alone.
            "encoder_hidden_states": torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
            "added_cond_kwargs": {
                "text_embeds": second.text_embeds,
                "time_ids": torch.tensor([[side, side, 0, 0, side, side]]).float().expand(len(ids), -1),
            },
        }

    def pipeline(self, vae: AutoencoderKL) -> StableDiffusionXLPipeline:
        """Return a StableDiffusionXLPipeline, for which an empty prompt is an encoded one, as it was in training."""
        return StableDiffusionXLPipeline(
            vae=vae,
            tokenizer=self.tokenizer,
            tokenizer_2=self.tokenizer,
            scheduler=self.scheduler,
            force_zeros_for_empty_prompt=False,
            add_watermarker=False,
            **self.networks,
        )
