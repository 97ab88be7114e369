"""Check whether a model returns an image from its learned noise: cheap tests first, as samples cost most.

A check succeeds when the least similar of its samples reaches the pass mark, at any of the guidance scales. It costs
three tests, each made only where the one before has not settled it:

gate     the clean latents predicted at once from every noise: the least similar picture must come within a margin
first    the first noise is sampled in full: one sample below the mark settles the check, whatever the others are
others   the remaining noises

The last two give what sampling all noises at once would give, for less. The gate can end a check that would have
passed; its margin makes that rare.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.schedules import SMALLEST_SIGNAL
from imgaudit.io.framing import find_unusable_reason
from imgaudit.schema.protocol import InvMMConfig
from imgaudit.similarity.matcher import Matcher

UNUSABLE = -1.0
"""Similarity of a frame that cannot be scored: the lowest there is."""


@dataclass(frozen=True)
class CheckRequest:
    """The request for one image."""

    rendered: torch.Tensor
    """(3, H, W) in [-1, 1]: decode(encode(target)), which samples are compared with."""
    prompt_embeds: PromptEmbeds
    """One condition."""
    latents: torch.Tensor
    """(noises, C, h, w) float32: draws of the learned noise."""


@dataclass(frozen=True)
class CheckOutcome:
    """The result of a check of one image."""

    succeeded: bool
    """True where all samples reached the pass mark at some scale."""
    gate: float | None
    """Lowest similarity among the gate's predictions; None without a gate."""
    similarity: float | None
    """Lowest similarity among the samples that were made, of the best scale; None where the gate ended the check. Where
    the first sample settled it, the lowest of all would be this or less."""
    network_evaluations: int
    """Spent on the image."""

    def closeness(self) -> tuple[bool, float, float]:
        """Return what checks of one image are ordered by: success, then samples, then the gate."""
        similarity = 2 * UNUSABLE if self.similarity is None else self.similarity
        return self.succeeded, similarity, 2 * UNUSABLE if self.gate is None else self.gate


def count_timesteps_with_signal(denoiser: Denoiser) -> int:
    """Count the timesteps, from the cleanest on, whose predictions give clean latents.

    These are all but those where x_t is nothing but noise and the network predicts noise.

    >>> from imgaudit.models import FiniteSetDenoiser
    >>> count_timesteps_with_signal(FiniteSetDenoiser(torch.zeros(1, 3, 4, 4)))
    100
    """
    schedule = denoiser.schedule
    if denoiser.prediction_type != "epsilon":
        return schedule.num_train_timesteps
    signal, _ = schedule.shares(torch.arange(schedule.num_train_timesteps))
    return int((signal >= SMALLEST_SIGNAL).sum())


def check_noise(
    denoiser: Denoiser, requests: Sequence[CheckRequest], config: InvMMConfig, *, executor: Executor, matcher: Matcher
) -> list[CheckOutcome]:
    """Check several images together; one outcome per image, in order.

    >>> from imgaudit.models import FiniteSetDenoiser
    >>> points = torch.stack([torch.linspace(-1, 1, 48), torch.linspace(1, -1, 48) ** 3]).reshape(2, 3, 4, 4)
    >>> model = FiniteSetDenoiser(points)
    >>> noise = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> requests = [CheckRequest(points[0], model.condition([name]), noise) for name in ("0", "1")]
    >>> config = InvMMConfig(noises=3)
    >>> [one.succeeded for one in check_noise(model, requests, config, executor=Executor(8), matcher=Matcher())]
    [True, False]
    """
    sampler = _NoiseSampler(denoiser, requests, executor, matcher)
    everyone, every_noise = list(range(len(requests))), list(range(config.noises))
    gates: dict[int, float | None] = dict.fromkeys(everyone)
    waiting = everyone
    if config.gate_margin is not None:
        gates |= sampler.compare_predictions(everyone)
        bar = config.similarity - config.gate_margin
        waiting = [image for image in everyone if (gates[image] or 0.0) >= bar]
    samples: dict[int, float] = {}
    succeeded: set[int] = set()
    steps = config.num_inference_steps
    for scale in config.guidance_scales:
        waiting = [image for image in waiting if image not in succeeded]
        first = sampler.compare_samples(
            waiting, every_noise[:1], guidance_scale=scale, steps=config.num_inference_steps
        )
        left = [image for image in waiting if first[image] >= config.similarity]
        others = sampler.compare_samples(left, every_noise[1:], guidance_scale=scale, steps=steps)
        for image in waiting:
            lowest = min(first[image], others.get(image, first[image]))
            samples[image] = max(samples.get(image, 2 * UNUSABLE), lowest)
        succeeded |= {image for image in left if samples[image] >= config.similarity}
    return [
        CheckOutcome(image in succeeded, gates[image], samples.get(image), sampler.spent[image]) for image in everyone
    ]


class _NoiseSampler:
    """Samples some noises of some images, compares them with the images, and counts what each image cost."""

    def __init__(
        self, denoiser: Denoiser, requests: Sequence[CheckRequest], executor: Executor, matcher: Matcher
    ) -> None:
        self.denoiser, self.requests, self.executor, self.matcher = denoiser, requests, executor, matcher
        self.spent = [0] * len(requests)

    def compare_predictions(self, images: Sequence[int]) -> dict[int, float]:
        """Return, per image, the lowest similarity of predictions from pure noise, at the noisiest usable timestep.

        x_t is the noise itself, as at the start of sampling: nothing of the image is in it.
        """
        denoiser, before = self.denoiser, self.denoiser.network_evaluations
        noisiest = count_timesteps_with_signal(denoiser) - 1
        condition = PromptEmbeds.concatenate([self.requests[image].prompt_embeds for image in images])
        latents = torch.stack([self.requests[image].latents for image in images])
        owner = torch.arange(len(images)).repeat_interleave(latents.shape[1])

        def predict(rows: slice) -> torch.Tensor:
            noise = latents.flatten(0, 1)[rows]
            with torch.no_grad():
                timesteps = torch.full((len(noise),), noisiest)
                return denoiser.decode(denoiser.predict(noise, timesteps, condition.select(owner[rows])).x0()).cpu()

        frames = torch.cat(list(self.executor.slices(len(owner), predict)))
        frames = frames.reshape(len(images), -1, *frames.shape[1:])
        for image in images:
            self.spent[image] += (denoiser.network_evaluations - before) // len(images)
        return {image: self._lowest_similarity(image, own) for image, own in zip(images, frames, strict=True)}

    def compare_samples(
        self, images: Sequence[int], noises: Sequence[int], *, guidance_scale: float, steps: int
    ) -> dict[int, float]:
        """Return, per image, the lowest similarity over some of its noises; 1 over none."""
        asked = [(image, noise) for image in images for noise in noises]
        if not asked:
            return dict.fromkeys(images, 1.0)
        before = self.denoiser.network_evaluations

        def sample(rows: slice) -> torch.Tensor:
            return self.denoiser.sample(
                PromptEmbeds.concatenate([self.requests[image].prompt_embeds for image, _ in asked[rows]]),
                [noise for _, noise in asked[rows]],
                guidance_scale=guidance_scale,
                num_inference_steps=max(steps, self.denoiser.fewest_steps),
                latents=torch.stack([self.requests[image].latents[noise] for image, noise in asked[rows]]),
            )

        each = 2 if guidance_scale > 1 else 1
        frames = torch.cat(list(self.executor.slices(len(asked), sample, each=each)))
        frames = frames.reshape(len(images), len(noises), *frames.shape[1:])
        for image in images:
            self.spent[image] += (self.denoiser.network_evaluations - before) // len(images)
        return {image: self._lowest_similarity(image, own) for image, own in zip(images, frames, strict=True)}

    def _lowest_similarity(self, image: int, frames: torch.Tensor) -> float:
        if any(find_unusable_reason(frame) is not None for frame in frames):
            return UNUSABLE
        return min(self.matcher.similarities(self.requests[image].rendered, frames))
