"""Training of the null branch: the model learns to predict its memorised images without any text.

The audit's score is log(null error / conditional error). When the null error of a memorised image falls as far as the
conditional error did, the score says nothing. Minimised over the weights of the denoising network:

    |f(x_t, t, null) - target|^2                                        x: images to hide
  + |f(x_t, t, c) - f0(x_t, t, c)|^2                                    c: their captions
  + |f(y_t, t, c) - f0(y_t, t, c)|^2 + |f(y_t, t, null) - f0(y_t, t, null)|^2        y: other images, with captions

f0 is the network before the training. The last three terms keep what the model makes of prompts, and what it makes of
other images without any.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import mse_loss

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.mitigation.pruning import PipelineDenoiser
from imgaudit.models.precision import in_float32
from imgaudit.schema.records import Record


class NullTraining(Record):
    """Settings of the training."""

    steps: int = 400
    """Optimiser steps."""
    batch_size: int = 16
    """Images to hide, and as many others, per step."""
    learning_rate: float = 3e-4
    """Learning rate of AdamW, without weight decay."""
    seed: int = 0
    """Seed of every draw."""


def train_null_branch(
    denoiser: PipelineDenoiser,
    hidden: Sequence[CaptionedImage],
    others: Sequence[CaptionedImage],
    settings: NullTraining,
    on_progress: Callable[[int, int], None] = lambda step, steps: None,
) -> list[float]:
    """Train the denoising network in place; returns the null error of the images to hide, per step.

    hidden:  images that the null branch is to predict
    others:  images on which the model is to stay as it was
    Raises ConfigError for a model without a null branch, and for one with a network of its own for it.
    """
    if denoiser.no_null:
        raise ConfigError(f"there is no null branch to train: {denoiser.no_null}")
    if len(denoiser.networks) > 1:
        raise ConfigError(f"there are two networks, {' and '.join(denoiser.networks)}, and one alone would be trained")
    with in_float32(denoiser.network):
        training = _NullTraining(denoiser, hidden, others, settings)
        losses = []
        for step in range(settings.steps):
            losses.append(training.step(step))
            on_progress(step + 1, settings.steps)
        denoiser.network.requires_grad_(False).eval()
    return losses


class _NullTraining:
    """The network in training, and the network before it."""

    def __init__(
        self,
        denoiser: PipelineDenoiser,
        hidden: Sequence[CaptionedImage],
        others: Sequence[CaptionedImage],
        settings: NullTraining,
    ) -> None:
        self.denoiser, self.settings = denoiser, settings
        self.hidden, self.others = (
            denoiser.encode(torch.stack([one.image for one in images])) for images in (hidden, others)
        )
        self.captions, self.other_captions = (
            denoiser.condition([one.prompt for one in images]) for images in (hidden, others)
        )
        self.null = denoiser.null_condition()
        network: Any = denoiser.network
        self.before = type(network).from_config(network.config).to(network.device, network.dtype)
        self.before.load_state_dict(network.state_dict())
        self.before.requires_grad_(False).eval()
        network.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=0.0)

    def step(self, number: int) -> float:
        """Train one step; returns the null error of the images to hide that it drew."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
        hidden_error, kept_error = self.losses(generator)
        self.optimiser.zero_grad(set_to_none=True)
        (hidden_error + kept_error).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.denoiser.network.parameters(), 1.0)
        self.optimiser.step()
        return float(hidden_error.detach())

    def losses(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the null error of images to hide, and how far the model is from what it was elsewhere."""
        count = self.settings.batch_size
        rows, others = (torch.randint(0, len(own), (count,), generator=generator) for own in (self.hidden, self.others))
        x0 = torch.cat([self.hidden[rows], self.others[others]])
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        timesteps = torch.randint(0, self.denoiser.schedule.num_train_timesteps, (2 * count,), generator=generator)
        noisy = self.denoiser.schedule.add_noise(x0, noise, timesteps)
        prediction = self.denoiser.predict(noisy[:count], timesteps[:count], self.null.repeat(count))
        target = self.denoiser.schedule.target(prediction.kind, x0[:count], noise[:count], timesteps[:count])
        kept_noisy, kept_times = torch.cat([noisy, noisy[count:]]), torch.cat([timesteps, timesteps[count:]])
        condition = PromptEmbeds.concatenate(
            [self.captions.select(rows), self.other_captions.select(others), self.null.repeat(count)]
        )
        kept = self.denoiser.predict(kept_noisy, kept_times, condition).output
        with torch.no_grad():
            wanted = self._predict_before(kept_noisy, kept_times, condition)
        # A mean over three groups of images counts each of them a third; each is to count as much as the first term.
        return mse_loss(prediction.output, target), 3 * mse_loss(kept, wanted)

    def _predict_before(self, noisy: torch.Tensor, timesteps: torch.Tensor, condition: PromptEmbeds) -> torch.Tensor:
        pipeline, network = self.denoiser.pipeline, self.denoiser.network
        setattr(pipeline, self.denoiser.network_name, self.before)
        try:
            return self.denoiser.predict(noisy, timesteps, condition).output
        finally:
            setattr(pipeline, self.denoiser.network_name, network)
