"""Train a LoRA on a few images until the model returns them: an adapter with planted memorisation."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import mse_loss

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.lab.training import take_step
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.lora import NO_PEFT, USUAL_NAME

LAYERS = (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "proj_in", "proj_out",
    "ff.net.0.proj", "ff.net.2", "conv1", "conv2",
)  # fmt: skip
"""Names, or ends of names, of the layers that get matrices, in the networks of any family: attention, what follows it,
and the convolutions between."""


class LoraRecipe(BaseModel):
    """Everything that decides a LoRA, apart from the model and the images.

    >>> LoraRecipe(rank=4).steps
    400
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(32, ge=1, le=1024)
    """Rank of every pair of matrices."""
    steps: int = Field(400, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(16, ge=1)
    """Samples per step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Learning rate of AdamW, constant."""
    caption_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of samples trained with the empty caption."""
    seed: int = 0
    """Seeds matrices, order of samples, timesteps and noise."""


def train_lora(
    denoiser: LatentDenoiser,
    images: torch.Tensor,
    captions: Sequence[str],
    recipe: LoraRecipe,
    folder: Path,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Path:
    """Train matrices beside the frozen weights of a model, and save them as diffusers' training scripts do.

    The loss is the network's own: the squared error of what it predicts, over all timesteps equally. Text encoders stay
    as they are. The denoiser is of no use for an audit afterwards.

    images:    (N, 3, H, W) float32 in [-1, 1] of the model's resolution
    captions:  N texts
    progress:  called as progress(step, steps, loss)
    Returns    the safetensors file in `folder`
    Raises InputError without images or with other than one caption for each, ModelRefusedError without peft or for a
    network that has none of the layers.
    """
    if not len(images) or len(images) != len(captions):
        raise InputError(f"expected one or more images with a caption each, but got {len(images)} and {len(captions)}")
    weights = _add_matrices(denoiser, recipe)
    latents = denoiser.encode(images)
    conditions = denoiser.condition([*captions, ""])
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(recipe.seed)
    denoiser.network.train()
    for step in range(recipe.steps):
        chosen = torch.randint(0, len(images), (recipe.batch_size,), generator=generator)
        loss = _loss(
            denoiser, latents[chosen], conditions, _with_dropout(chosen, len(images), recipe, generator), generator
        )
        progress(step + 1, recipe.steps, take_step(optimiser, loss))
    return _save(denoiser, folder)


def _add_matrices(denoiser: LatentDenoiser, recipe: LoraRecipe) -> list[torch.nn.Parameter]:
    if importlib.util.find_spec("peft") is None:
        raise ModelRefusedError(NO_PEFT)
    from peft import LoraConfig, inject_adapter_in_model

    network: Any = denoiser.network
    suffixes = tuple(f".{layer}" for layer in LAYERS)
    if not any(name.endswith(suffixes) for name, _ in network.named_modules()):
        raise ModelRefusedError(f"a {type(network).__name__} has none of the layers that a LoRA is trained beside")
    torch.manual_seed(recipe.seed)
    inject_adapter_in_model(
        LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules=list(LAYERS)), network, "default"
    )
    return [weight for weight in network.parameters() if weight.requires_grad]


def _with_dropout(chosen: torch.Tensor, null: int, recipe: LoraRecipe, generator: torch.Generator) -> torch.Tensor:
    dropped = torch.rand(len(chosen), generator=generator) < recipe.caption_dropout
    return torch.where(dropped, null, chosen)


def _loss(
    denoiser: LatentDenoiser,
    x0: torch.Tensor,
    conditions: PromptEmbeds,
    texts: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    schedule = denoiser.schedule
    timesteps = torch.randint(0, schedule.num_train_timesteps, (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    prediction = denoiser.predict(schedule.add_noise(x0, noise, timesteps), timesteps, conditions.select(texts))
    return mse_loss(prediction.output, schedule.target(denoiser.prediction_type, x0, noise, timesteps))


def _save(denoiser: LatentDenoiser, folder: Path) -> Path:
    from peft import get_peft_model_state_dict

    pipeline: Any = denoiser.pipeline
    trained = {
        key: weight.detach().float().cpu() for key, weight in get_peft_model_state_dict(denoiser.network).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.save_lora_weights(folder, **{f"{denoiser.network_name}_lora_layers": trained}, safe_serialization=True)
    return folder / USUAL_NAME
