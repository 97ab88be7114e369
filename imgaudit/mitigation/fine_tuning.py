"""Adversarial fine-tuning: the remedy that held under inversion in DoRI's test (ICML 2026, arXiv 2507.16880).

Pruning hides an image from its captions. What inversion finds is another condition for the same image, so the training
looks for such conditions itself and takes their effect away. In rounds:

    1. invert every image to forget on the model as it is now: adversarial embeddings (imgaudit's own inversion)
    2. for some steps, minimise over the denoising network's weights

        |f(x_t, t, a) - f0(x_t, t, null)|^2                     x: images to forget, a: their embeddings and captions
      + |f(y_t, t, c) - f0(y_t, t, c)|^2 + |f(y_t, t, null) - f0(y_t, t, null)|^2      y: images to retain, c: captions

f0 is the network before the training. The first term says that a condition for the image should tell no more about it
than none does; the others keep the model what it was. DoRI's authors train towards surrogate images; which surrogate an
image should be replaced by is a choice that an auditor cannot make, and the model's own null prediction is none.

The defaults were tried on the lab fit. There the price is that the model listens less to every prompt: the distance
between conditional and null predictions shrinks on images that it was to retain as well, which the error of neither
shows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import mse_loss

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import invert
from imgaudit.exceptions import ConfigError, InputError
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.mitigation.pruning import PipelineDenoiser, save_changed
from imgaudit.models.precision import in_float32
from imgaudit.models.saving import require_new
from imgaudit.schema.protocol import InversionConfig
from imgaudit.schema.records import Record


class TuningSettings(Record):
    """The settings of a fine-tuning."""

    rounds: int = 4
    """Times that embeddings are searched again."""
    steps: int = 75
    """Optimiser steps after each search."""
    inversion_steps: int = 25
    """Steps of each search; audits take 25 to 50."""
    batch_size: int = 16
    """Images to forget, and as many to retain, per step."""
    learning_rate: float = 1e-4
    """Learning rate of AdamW, without weight decay."""
    retain_weight: float = 1.0
    """Weight of the loss that keeps the model as it was."""
    seed: int = 0
    """Run seed."""


def fine_tune(
    denoiser: PipelineDenoiser,
    forget: Sequence[CaptionedImage],
    retain: Sequence[CaptionedImage],
    settings: TuningSettings,
    folder: Path,
    *,
    executor: Executor,
    on_progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> None:
    """Fine-tune the denoising network in memory and save the model as a new folder.

    on_progress:  called as on_progress(step, steps, loss)
    Raises InputError without images on either side or for a folder that is not empty, ConfigError for a model without
    a null branch, or when the training diverges; nothing is written then.
    """
    if denoiser.no_null:
        raise ConfigError(f"the training leads to the null prediction: {denoiser.no_null}")
    if not len(forget) or not len(retain):
        raise InputError(f"expected images to forget and to retain, but got {len(forget)} and {len(retain)}")
    require_new(folder)
    # In half precision AdamW's small numbers underflow: trained in float32, saved as it came.
    with in_float32(denoiser.network):
        tuning = _Tuning(denoiser, forget, retain, settings)
        for number in range(settings.rounds):
            adversarial = tuning.search(number, executor)
            tuning.train(number, adversarial, on_progress)
        denoiser.network.requires_grad_(False).eval()
    save_changed(
        denoiser.pipeline,
        folder,
        f"Fine-tuned against inversion to forget {len(forget)} images: {settings.rounds} rounds of "
        f"{settings.steps} steps, learning rate {settings.learning_rate:g}, {len(retain)} images retained, seed "
        f"{settings.seed}.",
    )


class _Tuning:
    """The network in training, and what it is held to."""

    def __init__(
        self,
        denoiser: PipelineDenoiser,
        forget: Sequence[CaptionedImage],
        retain: Sequence[CaptionedImage],
        settings: TuningSettings,
    ) -> None:
        self.denoiser, self.forget, self.settings = denoiser, forget, settings
        self.latents, self.kept = (denoiser.encode(torch.stack([one.image for one in own])) for own in (forget, retain))
        self.captions, self.kept_captions = (
            denoiser.condition([one.prompt for one in own]) for own in (forget, retain)
        )
        self.null = denoiser.null_condition()
        network: Any = denoiser.network
        # Not a deep copy: that would copy the adapter with it, whose hook counts the network's passes.
        self.frozen = type(network).from_config(network.config).to(network.device, network.dtype)
        self.frozen.load_state_dict(network.state_dict())
        self.frozen.requires_grad_(False).eval()
        self.weights = list(denoiser.network.parameters())
        self.optimiser = torch.optim.AdamW(self.weights, lr=settings.learning_rate, weight_decay=0.0)

    def search(self, number: int, executor: Executor) -> PromptEmbeds:
        """Search adversarial embeddings of all images, from another start in every round."""
        self.denoiser.network.requires_grad_(False).eval()
        start = "null" if number % 2 == 0 else "random"
        config = InversionConfig(steps=self.settings.inversion_steps, initialisation=start)
        return invert(
            self.denoiser, self.latents, [one.sha256 for one in self.forget], config,
            run_seed=self.settings.seed * 1_000_003 + number, executor=executor,
        ).prompt_embeds  # fmt: skip

    def train(self, number: int, adversarial: PromptEmbeds, on_progress: Callable[[int, int, float], None]) -> None:
        """Train one round."""
        settings, total = self.settings, self.settings.rounds * self.settings.steps
        self.denoiser.network.requires_grad_(True)
        for step in range(number * settings.steps, (number + 1) * settings.steps):
            # Every step has a generator of its own: what it draws does not depend on what came before.
            generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
            loss = self._forgetting(adversarial, generator) + settings.retain_weight * self._retaining(generator)
            if not bool(torch.isfinite(loss)):
                raise ConfigError(
                    f"the training diverged at step {step + 1} of {total}: lower the learning rate, now "
                    f"{settings.learning_rate:g}"
                )
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimiser.step()
            on_progress(step + 1, total, float(loss.detach()))

    def _forgetting(self, adversarial: PromptEmbeds, generator: torch.Generator) -> torch.Tensor:
        rows = self._rows(len(self.latents), generator)
        half = torch.rand(len(rows), generator=generator) < 0.5
        chosen = PromptEmbeds.concatenate([adversarial, self.captions])
        condition = chosen.select(torch.where(half, rows, rows + len(self.latents)))
        noisy, timesteps = self._noised(self.latents[rows.to(self.latents.device)], generator)
        with torch.no_grad():
            wanted = self._frozen(noisy, timesteps, self.null.repeat(len(rows)))
        return mse_loss(self.denoiser.predict(noisy, timesteps, condition).output, wanted)

    def _retaining(self, generator: torch.Generator) -> torch.Tensor:
        rows = self._rows(len(self.kept), generator)
        noisy, timesteps = self._noised(self.kept[rows.to(self.kept.device)], generator)
        condition = PromptEmbeds.concatenate([self.kept_captions.select(rows), self.null.repeat(len(rows))])
        noisy, timesteps = torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps])
        with torch.no_grad():
            wanted = self._frozen(noisy, timesteps, condition)
        return mse_loss(self.denoiser.predict(noisy, timesteps, condition).output, wanted)

    def _rows(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(0, count, (self.settings.batch_size,), generator=generator)

    def _noised(self, x0: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        schedule = self.denoiser.schedule
        timesteps = torch.randint(0, schedule.num_train_timesteps, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        return schedule.add_noise(x0, noise, timesteps), timesteps

    def _frozen(self, noisy: torch.Tensor, timesteps: torch.Tensor, condition: PromptEmbeds) -> torch.Tensor:
        """Predict with the network as it was before the training."""
        pipeline, network = self.denoiser.pipeline, self.denoiser.network
        setattr(pipeline, self.denoiser.network_name, self.frozen)
        try:
            return self.denoiser.predict(noisy, timesteps, condition).output
        finally:
            setattr(pipeline, self.denoiser.network_name, network)
