"""Wen et al.'s inference-time mitigation (ICLR 2024, arXiv 2407.21720): change the prompt until it recalls no image.

A memorised prompt moves the prediction far from the null one at the first sampling step, and not for long can it do so
for any noise. Before sampling, per sample, AdamW minimises over the free rows of the prompt embeddings

    |f(x_T, T, c) - f(x_T, T, null)|_2 / sqrt(elements)

for at most `iterations` steps, and stops for that sample as soon as this is at most `rms`. Then the model samples with
what came of it, from the same x_T. Norms are per sample: the authors' code takes one over the whole batch, so that its
target of 3 for 4 images is 1.5 for each, an RMS of 0.0117 for Stable Diffusion at 512 pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.guided_trajectory import explain_no_epsilon
from imgaudit.diffusion.schedules import Prediction
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.mitigated import MitigatedDenoiser


class EmbeddingDescent(MitigatedDenoiser):
    """The model with Wen et al.'s descent before every sampling."""

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        rms: float = 0.0117,
        iterations: int = 10,
        learning_rate: float = 0.05,
        other_noise: bool = False,
    ) -> None:
        """Wrap a model.

        rms:            where the descent of a sample ends
        iterations:     most steps of it
        learning_rate:  of AdamW, in units of each stream's root mean square at the start condition
        other_noise:    descend on another x_T than the one that is sampled from: whether a prompt that was made
                        harmless on one noise is so on fresh ones
        Raises ConfigError for a model without a null branch.
        """
        if denoiser.no_null:
            raise ConfigError(f"embedding descent needs a null prediction: {denoiser.no_null}")
        super().__init__(
            denoiser,
            self.identify(rms=rms, iterations=iterations, learning_rate=learning_rate, other_noise=other_noise),
        )
        self.rms, self.iterations, self.learning_rate = rms, iterations, learning_rate
        self.other_noise = other_noise

    @staticmethod
    def identify(*, rms: float, iterations: int, learning_rate: float, other_noise: bool) -> str:
        """Return the identity of the mitigation with these settings."""
        return (
            f"descent rms={rms:g} iterations={iterations} learning_rate={learning_rate:g} "
            f"other_noise={bool(other_noise)}"
        )

    @contextmanager
    def sampling(
        self, prompt_embeds: PromptEmbeds, seeds: Sequence[int], latents: torch.Tensor | None
    ) -> Iterator[PromptEmbeds]:
        """Yield the conditions after the descent."""
        drawn = [draw_seed(seed, "", "descent") for seed in seeds] if self.other_noise else seeds
        noise = latents if latents is not None and not self.other_noise else draw_noise(drawn, self.latent_shape)
        yield self.descend(prompt_embeds, noise)

    def descend(self, prompt_embeds: PromptEmbeds, noise: torch.Tensor) -> PromptEmbeds:
        """Return the conditions after the descent, one per row of `noise` (N, C, h, w)."""
        model = self.denoiser
        timesteps = torch.full((len(noise),), model.schedule.num_train_timesteps - 1)
        in_epsilon = not explain_no_epsilon(model.schedule, model.prediction_type, timesteps[:1])

        def parts(prediction: Prediction) -> torch.Tensor:
            return prediction.noise() if in_epsilon else prediction.output

        with torch.no_grad():
            null = parts(model.predict(noise, timesteps, model.null_condition().repeat(len(noise))))
        start = {name: stream.detach().clone() for name, stream in prompt_embeds.streams.items()}
        leaves = {name: stream.clone().requires_grad_(True) for name, stream in start.items()}
        scales = model.start_condition().root_mean_square()
        optimiser = torch.optim.AdamW(
            [{"params": [leaf], "lr": self.learning_rate * (scales[name] or 1.0)} for name, leaf in leaves.items()]
        )
        done = torch.zeros(len(noise), dtype=torch.bool)
        for _ in range(self.iterations):
            with torch.enable_grad():
                difference = parts(model.predict(noise, timesteps, prompt_embeds.with_streams(leaves))) - null
                loss = torch.linalg.vector_norm(difference.flatten(1), dim=1) / difference[0].numel() ** 0.5
            done = done | (loss.detach() <= self.rms).to(done.device)
            if bool(done.all()):
                break
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            before = {name: leaf.detach().clone() for name, leaf in leaves.items()}
            optimiser.step()
            # The step is undone for samples that are done and for positions that are not free.
            with torch.no_grad():
                for name, leaf in leaves.items():
                    free = prompt_embeds.free[name][None, :, None].to(leaf.device)
                    leaf.copy_(torch.where(done[:, None, None].to(leaf.device) | ~free, before[name], leaf))
        return prompt_embeds.with_streams({name: leaf.detach() for name, leaf in leaves.items()})
