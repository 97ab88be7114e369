"""InvMM as a baseline (Ma et al., arXiv 2405.05846): a learned noise distribution and a soft mixture of tokens.

Per image, Adam minimises

    |x0_hat - x0|^2 / elements  +  lambda * KL(N(mu, exp(logvar)) || N(0, 1)) / elements

over mu, logvar (the noise) and omega (logits over the vocabulary at every token position, drawn through
Gumbel-softmax), while lambda adapts. Every `check_every` steps samples from the learned noise are compared with the
image; the score is the KL divergence per dimension at the first success: lower = more memorised.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import gumbel_softmax

from imgaudit.benchmark.budget_table import BudgetRow, budget_row
from imgaudit.benchmark.cases import CaseCounts, Group, choose_cases, load_cases
from imgaudit.benchmark.kept import kept_chunks
from imgaudit.benchmark.lab_model import LabModel
from imgaudit.denoiser import PromptEmbeds, draw_seed
from imgaudit.exceptions import InputError
from imgaudit.executor import Executor
from imgaudit.images import frame_image, to_tensor, unusable_reason
from imgaudit.matching import DECIDING_DESCRIPTOR, NEAR_COPY_CORRELATION, Matcher
from imgaudit.models.unet import UNetDenoiser
from imgaudit.portfolio import Target
from imgaudit.protocol import Framing

INVMM = "InvMM"
IMAGES = 8
"""Memorised and held-out images, each, that are put through it: a failure costs hundreds of thousands of passes."""


@dataclass(frozen=True)
class InvMMConfig:
    """The published settings for Stable Diffusion; only the similarity and its pass mark are the audit's own."""

    steps: int = 2000
    """Longest optimisation."""
    draws: int = 16
    """Draws per step."""
    learning_rate: float = 0.1
    """Of mu, logvar and omega alike."""
    temperature: float = 2.0
    """Of the Gumbel-softmax."""
    check_every: int = 50
    """Steps between checks of success and adaptations of lambda."""
    least_progress: float = 1e-3
    """Lambda is halved when the prediction loss of the last 100 steps fell by less since the last check."""
    increment: float = 1e-3
    """Added to lambda at every step, and at every check that finds progress."""
    guidance_scales: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    """Tried in turn at a check; one success is enough."""
    seeds: int = 8
    """Samples per check and scale, all of which must be copies."""
    num_inference_steps: int = 50
    """Sampling steps."""
    similarity: float = NEAR_COPY_CORRELATION
    """What every sample must reach."""


@dataclass(frozen=True)
class InvMMResult:
    """What InvMM found for one image."""

    divergence: float | None
    """KL per dimension at success, in nats; None when no check succeeded."""
    steps: int
    """Optimisation steps done."""
    network_evaluations: int
    """Spent on this image; a backward pass counts as one more."""


def divergence(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)), averaged over elements, in nats.

    >>> float(divergence(torch.zeros(3), torch.zeros(3)))
    0.0
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).mean()


def invmm(
    denoiser: UNetDenoiser,
    target: Target,
    config: InvMMConfig,
    *,
    framing: Framing,
    run_seed: int,
    executor: Executor,
) -> InvMMResult:
    """Run InvMM on one image until the first success or the last step."""
    before = denoiser.network_evaluations
    image = to_tensor(frame_image(target.load().pixels, denoiser.resolution, framing))
    x0 = denoiser.encode(image[None])
    reference = denoiser.decode(x0)[0]
    generator = torch.Generator().manual_seed(draw_seed(run_seed, target.image.sha256, "invmm"))
    mu, logvar = torch.zeros_like(x0, requires_grad=True), torch.zeros_like(x0, requires_grad=True)
    omega = torch.zeros(denoiser.mixture_shape, requires_grad=True)
    optimiser = torch.optim.Adam([mu, logvar, omega], lr=config.learning_rate)
    penalty, losses, last_average = 1.0, [], float("inf")

    def prompt(count: int) -> PromptEmbeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(0, 2**62, (), generator=generator)))
            return denoiser.condition_mixture(gumbel_softmax(omega.expand(count, -1, -1), tau=config.temperature))

    for step in range(1, config.steps + 1):
        noise = mu + (logvar / 2).exp() * torch.randn((config.draws, *x0.shape[1:]), generator=generator)
        timesteps = torch.randint(0, denoiser.schedule.num_train_timesteps, (config.draws,), generator=generator)
        noisy = denoiser.schedule.add_noise(x0, noise, timesteps)
        predicted = denoiser.predict(noisy, timesteps, prompt(config.draws)).x0()
        loss = (predicted - x0).square().mean()
        optimiser.zero_grad(set_to_none=True)
        (loss + penalty * divergence(mu, logvar)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
        penalty += config.increment
        if step % config.check_every == 0:
            with torch.no_grad():
                succeeded = _succeeds(denoiser, reference, mu, logvar, prompt(1), config, generator, executor)
            if succeeded:
                spent = denoiser.network_evaluations - before
                return InvMMResult(float(divergence(mu.detach(), logvar.detach())), step, spent)
            average = sum(losses[-100:]) / len(losses[-100:])
            penalty = penalty / 2 if last_average - average < config.least_progress else penalty + config.increment
            last_average = average
    return InvMMResult(None, config.steps, denoiser.network_evaluations - before)


def _succeeds(
    denoiser: UNetDenoiser,
    reference: torch.Tensor,
    mu: torch.Tensor,
    logvar: torch.Tensor,
    condition: PromptEmbeds,
    config: InvMMConfig,
    generator: torch.Generator,
    executor: Executor,
) -> bool:
    """Whether every sample from the learned noise is a copy, at any guidance scale."""
    noise = torch.randn((config.seeds, *mu.shape[1:]), generator=generator)
    latents = mu + (logvar / 2).exp() * noise
    condition = condition.repeat(config.seeds)
    for scale in config.guidance_scales:

        def sample(rows: slice, scale: float = scale) -> torch.Tensor:
            return denoiser.sample(
                condition.select(rows), list(range(config.seeds))[rows], guidance_scale=scale,
                num_inference_steps=config.num_inference_steps, latents=latents[rows],
            )  # fmt: skip

        images = torch.cat(list(executor.slices(config.seeds, sample, each=2)))
        if any(unusable_reason(image) is not None for image in images):
            continue
        lowest = min(similarity[DECIDING_DESCRIPTOR] for similarity, _ in Matcher().compare(reference, images))
        if lowest >= config.similarity:
            return True
    return False


def failures_last(results: Sequence[InvMMResult]) -> list[float]:
    """Scores for ranking, higher = more memorised: minus the divergence; all failures tie below every success."""
    return [-result.divergence if result.divergence is not None else -1e9 for result in results]


def measure_invmm(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts,
    config: InvMMConfig | None = None,
    images_each: int = IMAGES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """Rows of a few memorised and held-out images, every one kept when finished. Costs are means over them.

    images_each:  how many of either, in order of SHA-256

    Raises InputError for models whose text encoder takes no mixtures.
    """
    denoiser, framing = lab.loaded.denoiser, lab.description.recipe.framing
    if not isinstance(denoiser, UNetDenoiser):
        raise InputError("InvMM needs a model of the Stable Diffusion family")
    cases = choose_cases(lab.description, counts)
    chosen = [image for group in (Group.MEMORISED, Group.HELD_OUT) for image in cases.of(group)[:images_each]]
    images = {image.sha256: image for image in chosen}

    def work(chunk: list[Target]) -> list[dict[str, float]]:
        results = [
            invmm(denoiser, target, config or InvMMConfig(), framing=framing, run_seed=run_seed, executor=executor)
            for target in chunk
        ]
        return [
            {"score": score, "steps": result.steps, "evaluations": result.network_evaluations}
            for score, result in zip(failures_last(results), results, strict=True)
        ]

    found = list(kept_chunks(load_cases(chosen, located), folder / "invmm", 1, work, on_progress))
    spent = round(sum(one["evaluations"] for _, one in found) / len(found))
    steps = round(sum(one["steps"] for _, one in found) / len(found))
    return [
        budget_row(INVMM, "minus KL per dimension", steps, spent, images[target.image.sha256], False, one["score"])
        for target, one in found
    ]
