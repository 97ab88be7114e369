"""InvMM: how far from standard normal the noise has to be moved before a model returns one image (arXiv 2405.05846).

Ma et al., "Could It Be Generated?", ICCV 2025. Per image, Adam minimises over mu and logvar (the noise) and a soft
condition c

    mean_b |x0_hat(x_{t_b}, t_b, c_b) - x0|^2 / elements  +  lambda KL(N(mu, exp(logvar)) || N(0, 1)) / elements

    noise_b = mu + exp(logvar / 2) * standard normal,    x_t = a_t x0 + s_t noise_b,    t_b uniform

while lambda adapts: it grows as long as the prediction loss falls, and is halved when that is stuck. Every
`check_every` steps images are sampled from the learned noise; when the least similar of them is a copy the search ends,
and the divergence at that step is the score: lower = more memorised, 0 = plain noise suffices.

The error is that of clean latents, which weighs an error of predicted noise by 1/SNR: where there is no signal at all
(zero-terminal-SNR schedules) it cannot be computed from predicted noise, and such timesteps are not drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from imgaudit.diffusion.context import EncodedImages
from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.denoising_error import Draws, DrawSource
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.invmm.checks import CheckOutcome, CheckRequest, check_noise, count_timesteps_with_signal
from imgaudit.diffusion.invmm.condition import ConditionKind, SoftCondition, make_soft_condition
from imgaudit.diffusion.learned_noise import LearnedNoise, kl_per_dimension, shift_noise
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.schema.protocol import InvMMConfig
from imgaudit.similarity.matcher import Matcher


@dataclass(frozen=True)
class NoiseInversion:
    """InvMM's result for one image."""

    succeeded: bool
    """True where every sample of some check was a copy."""
    noise: LearnedNoise
    """At the first success, or after the last step."""
    prompt_embeds: PromptEmbeds
    """One condition: that of the check which ended the search."""
    condition: ConditionKind
    """Kind of the condition."""
    steps: int
    """Optimisation steps done."""
    best_check: CheckOutcome
    """The check that came closest to a success."""
    network_evaluations: int
    """Spent on this image; a backward pass counts as one more."""

    @property
    def kl_per_dimension(self) -> float:
        """Divergence of the noise from standard normal, per element, in nats; a score only where it succeeded."""
        return float(self.noise.divergence())

    def failure(self, config: InvMMConfig) -> str:
        """Explain why there is no score: the budget, and how close the checks came."""
        done = f"no check succeeded in {self.steps} steps"
        if self.best_check.similarity is not None:
            return (
                f"{done}: of {config.noises} samples from the learned noise the least similar came to "
                f"{self.best_check.similarity:.2f} at most, and {config.similarity:g} is needed"
            )
        assert self.best_check.gate is not None and config.gate_margin is not None
        return (
            f"{done}: the images predicted in one step from the learned noise reached a similarity of at most "
            f"{self.best_check.gate:.2f}, and samples are made from {config.similarity - config.gate_margin:g} on"
        )


@dataclass
class Penalty:
    """The weight of the divergence for one image, adapted to its prediction losses.

    >>> penalty = Penalty(increment=0.5, least_progress=0.1, window=2)
    >>> for loss in (4.0, 2.0, 2.0, 2.0): penalty.step(loss)
    >>> penalty.weight
    3.0
    >>> penalty.adapt(), penalty.weight
    (None, 3.5)
    >>> penalty.adapt(), penalty.weight
    (None, 1.75)
    """

    increment: float
    """Added at every step, and at a check that finds progress."""
    least_progress: float
    """By how much the mean loss must have fallen since the last check to count as progress."""
    window: int
    """Over how many last steps losses are averaged."""
    weight: float = 1.0
    """lambda."""
    _losses: list[float] = field(default_factory=list)
    _average: float = float("inf")

    def step(self, loss: float) -> None:
        """Record the prediction loss of one step, after every step."""
        self._losses = [*self._losses, loss][-self.window :]
        self.weight += self.increment

    def adapt(self) -> None:
        """Halve the weight where the loss is stuck, else raise it towards plain noise; at every check."""
        average = sum(self._losses) / len(self._losses)
        stuck = self._average - average < self.least_progress
        self.weight = self.weight / 2 if stuck else self.weight + self.increment
        self._average = average


def invert_noise(
    denoiser: Denoiser,
    images: EncodedImages,
    config: InvMMConfig,
    *,
    run_seed: int,
    executor: Executor,
    start: PromptEmbeds | None = None,
    streams: Sequence[str] | None = None,
    matcher: Matcher | None = None,
) -> list[NoiseInversion]:
    """Run InvMM on a chunk of images together, each until its first success or the last step.

    Images share batches and nothing else: every image has its own parameters, draws and lambda.

    start:    one embedding per image, where a model without words begins; by default the model's start condition
    streams:  which streams of an embedding are optimised, in place of words; by default words, and all where there are
              none
    Returns   one result per image, on the CPU in float32

    >>> from imgaudit.models import FiniteSetDenoiser
    >>> points = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    >>> [found] = invert_noise(FiniteSetDenoiser(points), EncodedImages(["00"], points[:1], points[:1]),
    ...                        InvMMConfig(steps=40, draws=4, check_every=10), run_seed=0, executor=Executor(32))
    >>> found.succeeded, found.condition, found.kl_per_dimension < 0.1
    (True, 'mixture', True)
    """
    start = denoiser.start_condition().repeat(len(images.sha256s)) if start is None else start
    condition = make_soft_condition(denoiser, start, temperature=config.temperature, streams=streams)
    search = _Search(denoiser, images, condition, config, run_seed, executor)
    active, found = list(range(len(images.sha256s))), dict[int, NoiseInversion]()
    best: dict[int, CheckOutcome] = {}
    for step in range(1, config.steps + 1):
        search.step(active)
        if step % config.check_every and step < config.steps:
            continue
        requests = [search.request_check(image) for image in active]
        outcomes = check_noise(denoiser, requests, config, executor=executor, matcher=matcher or Matcher())
        for image, request, outcome in zip(active, requests, outcomes, strict=True):
            search.spent[image] += outcome.network_evaluations
            best[image] = outcome if image not in best else max(best[image], outcome, key=CheckOutcome.closeness)
            if outcome.succeeded or step == config.steps:
                found[image] = search.result(image, request, step, best[image])
            else:
                search.penalties[image].adapt()
        active = [image for image in active if image not in found]
        if not active:
            break
    return [found[image] for image in range(len(images.sha256s))]


class _Search:
    """Parameters, draws and lambdas of a chunk."""

    def __init__(
        self,
        denoiser: Denoiser,
        images: EncodedImages,
        condition: SoftCondition,
        config: InvMMConfig,
        run_seed: int,
        executor: Executor,
    ) -> None:
        self.denoiser, self.images, self.condition = denoiser, images, condition
        latents, sha256s = images.latents, images.sha256s
        self.config, self.executor = config, executor
        self.mu, self.logvar = ([torch.zeros_like(one, requires_grad=True) for one in latents] for _ in range(2))
        rates = condition.learning_rates(config.learning_rate)
        own = [condition.parameters(image) for image in range(len(sha256s))]
        self.leaves = [
            [mu, logvar, *one.values()] for mu, logvar, one in zip(self.mu, self.logvar, own, strict=True)
        ]  # fmt: skip
        # Adam works element by element and passes over leaves without a gradient: images that are finished stand still.
        groups: list[dict[str, object]] = [{"params": [*self.mu, *self.logvar], "lr": config.learning_rate}]
        groups += [{"params": [one[name] for one in own], "lr": rate} for name, rate in rates.items()]
        self.optimiser = torch.optim.Adam(groups)
        self.sources = [DrawSource(run_seed, [sha256], "invmm", denoiser.latent_shape) for sha256 in sha256s]
        self.mixing, self.checking = (
            [torch.Generator().manual_seed(draw_seed(run_seed, sha256, purpose)) for sha256 in sha256s]
            for purpose in ("invmm condition", "invmm check")
        )
        self.penalties = [
            Penalty(config.increment, config.least_progress, config.progress_window) for _ in sha256s
        ]  # fmt: skip
        self.spent = [0] * len(sha256s)
        self.timesteps = count_timesteps_with_signal(denoiser)

    def step(self, active: Sequence[int]) -> None:
        """Take one step of Adam for the active images, on fresh draws."""
        config, before = self.config, self.denoiser.network_evaluations
        drawn = [self.sources[image].draw("uniform", config.draws, self.timesteps) for image in active]
        draws = Draws(torch.cat([one.timesteps for one in drawn]), torch.cat([one.noise for one in drawn]))
        mixed = torch.cat([self.condition.draw(config.draws, self.mixing[image]) for image in active])
        owner = [image for image in active for _ in range(config.draws)]
        self.optimiser.zero_grad(set_to_none=True)
        parts = self.executor.slices(len(owner), partial(self._accumulate, owner, draws, mixed))
        losses = torch.cat(list(parts)).reshape(len(active), config.draws).mean(dim=1)
        for image, loss in zip(active, losses.tolist(), strict=True):
            penalty = self.penalties[image]
            divergence = kl_per_dimension(self.mu[image], self.logvar[image])
            self._add([self.mu[image], self.logvar[image]], penalty.weight * divergence)
            penalty.step(loss)
            self.spent[image] += (self.denoiser.network_evaluations - before) // len(active)
        self.optimiser.step()

    def _accumulate(self, owner: Sequence[int], draws: Draws, mixed: torch.Tensor, rows: slice) -> torch.Tensor:
        """Add the gradients of a slice's prediction loss; returns its errors of clean latents, (rows,) on the CPU."""
        images = owner[rows]
        x0 = torch.stack([self.images.latents[image] for image in images])
        mu, logvar = (torch.stack([one[image] for image in images]) for one in (self.mu, self.logvar))
        noise = shift_noise(mu, logvar, draws.noise.flatten(0, 1)[rows].to(mu))
        timesteps = draws.timesteps.flatten()[rows]
        noisy = self.denoiser.schedule.add_noise(x0, noise, timesteps)
        prediction = self.denoiser.predict(noisy, timesteps, self.condition.at(images, mixed[rows]))
        errors = (prediction.x0() - x0).square().flatten(1).mean(dim=1)
        leaves = [leaf for image in dict.fromkeys(images) for leaf in self.leaves[image]]
        self._add(leaves, errors.sum() / self.config.draws)
        return errors.detach().cpu()

    def _add(self, leaves: Sequence[torch.Tensor], loss: torch.Tensor) -> None:
        # All gradients of a slice or none: one that runs out of memory halfway is repeated as a whole.
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient

    def request_check(self, image: int) -> CheckRequest:
        """Draw noises and one condition, shared by all samples, with which the model is asked for an image."""
        noise = torch.randn((self.config.noises, *self.denoiser.latent_shape), generator=self.checking[image])
        with torch.no_grad():
            mixed = self.condition.draw(1, self.checking[image])
            prompt_embeds = self.condition.at([image], mixed).map(torch.Tensor.cpu)
            latents = shift_noise(self.mu[image], self.logvar[image], noise.to(self.mu[image]))
        return CheckRequest(self.images.rendered[image], prompt_embeds, latents)

    def result(self, image: int, request: CheckRequest, step: int, best: CheckOutcome) -> NoiseInversion:
        """Return the outcome of one image as it is now."""
        mu, logvar = (one[image].detach().cpu().clone() for one in (self.mu, self.logvar))
        return NoiseInversion(
            best.succeeded, LearnedNoise(mu, logvar), request.prompt_embeds, self.condition.kind, step, best,
            self.spent[image],
        )  # fmt: skip
