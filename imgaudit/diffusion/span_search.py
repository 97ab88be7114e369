"""Search of a condition for an image in the span of texts: what the score of most models is measured with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.denoising_error import DrawSource
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import accumulate_gradients
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.diffusion.text_span import TextSpan
from imgaudit.schema.protocol import SpanConfig


@dataclass(frozen=True)
class SpanSearch:
    """What was found for a chunk of images."""

    prompt_embeds: PromptEmbeds
    """One condition per image, in the span of texts, on the CPU."""
    losses: torch.Tensor
    """(images, steps) float32: loss of each step on its own fresh draws, before its update."""


def draw_coordinates(sha256s: Sequence[str], span: TextSpan, spread: float, run_seed: int) -> torch.Tensor:
    """Draw where the searches start: (images, directions) normal float32, `spread` standard deviations of the texts.

    The texts are weighted at random, and not the directions, whose signs are one machine's choice: an image starts from
    the same condition everywhere.
    """
    rows = []
    for sha256 in sha256s:
        generator = torch.Generator("cpu").manual_seed(draw_seed(run_seed, sha256, "search in the span of texts"))
        rows.append(torch.randn(len(span.shares), generator=generator) @ span.shares * spread)
    return torch.stack(rows)


def search_span(
    denoiser: Denoiser,
    latents: torch.Tensor,
    sha256s: Sequence[str],
    span: TextSpan,
    config: SpanConfig,
    *,
    run_seed: int,
    executor: Executor,
) -> SpanSearch:
    """Search the span of texts for conditions under which the images are predicted best.

    Per image, Adam minimises over the coordinates z of its condition

        mean_b |f(x_{t_b}, t_b, mean + sum_k z_k direction_k) - target_b|^2 / elements

    with noise and timestep drawn afresh at every step, the timesteps in the noisier half: there the image is hardly to
    be seen, and the condition decides what is predicted. Images do not influence each other.

    latents:  (images, C, h, w) float32, scaled by the autoencoder's factor
    Returns   the conditions on the CPU, and the loss of every step
    """
    start = draw_coordinates(sha256s, span, config.spread, run_seed)
    coordinates = start.to(latents.device).requires_grad_(True)
    optimiser = torch.optim.Adam([coordinates], lr=config.learning_rate)
    source = DrawSource(run_seed, sha256s, "search in the span of texts", denoiser.latent_shape)
    names, losses = list(span.directions), []
    for _ in range(config.steps):
        draws = source.draw(config.timesteps, config.draws, denoiser.schedule.num_train_timesteps)
        condition = span.condition(coordinates.detach())
        streams = {name: stream.requires_grad_(True) for name, stream in condition.streams.items()}
        _, weighted = accumulate_gradients(
            denoiser, latents, draws, condition.with_streams(streams), names, executor=executor
        )
        losses.append(weighted.mean(dim=1))
        # The condition is linear in the coordinates, so the streams' gradients say all that is needed.
        coordinates.grad = span.project({name: _gradient(stream) for name, stream in streams.items()})
        optimiser.step()
    found = span.condition(coordinates.detach()).map(lambda tensor: tensor.cpu())
    return SpanSearch(found, torch.stack(losses, dim=1))


def _gradient(stream: torch.Tensor) -> torch.Tensor:
    assert stream.grad is not None
    return stream.grad
