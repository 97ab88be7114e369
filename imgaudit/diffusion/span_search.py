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


class SpanSearcher:
    """The search for a chunk of images, in steps: it can stop in between, and go on with some of the images.

    Per image, Adam minimises over the coordinates z of its condition

        mean_b |f(x_{t_b}, t_b, mean + sum_k z_k direction_k) - target_b|^2 / elements

    with noise and timestep drawn afresh at every step, the timesteps in the noisier half: there the image is hardly to
    be seen, and the condition decides what is predicted. Images do not influence each other.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        latents: torch.Tensor,
        sha256s: Sequence[str],
        span: TextSpan,
        config: SpanConfig,
        *,
        run_seed: int,
        executor: Executor,
    ) -> None:
        """Put every image at its start; see :func:`search_span`."""
        self._denoiser, self._latents, self._config, self._executor = denoiser, latents, config, executor
        self._span = span
        start = draw_coordinates(sha256s, span, config.spread, run_seed)
        self._optimiser = self._optimise(start.to(latents.device))
        self._source = DrawSource(run_seed, sha256s, "search in the span of texts", denoiser.latent_shape)
        self._losses: list[torch.Tensor] = []

    def _optimise(self, coordinates: torch.Tensor) -> torch.optim.Adam:
        self._coordinates = coordinates.requires_grad_(True)
        return torch.optim.Adam([self._coordinates], lr=self._config.learning_rate)

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self._losses)

    @property
    def prompt_embeds(self) -> PromptEmbeds:
        """The conditions so far, detached, on the device."""
        return self._span.condition(self._coordinates.detach())

    def step(self) -> None:
        """Take one step on fresh draws."""
        config, denoiser = self._config, self._denoiser
        draws = self._source.draw(config.timesteps, config.draws, denoiser.schedule.num_train_timesteps)
        condition = self.prompt_embeds
        streams = {name: stream.requires_grad_(True) for name, stream in condition.streams.items()}
        _, weighted = accumulate_gradients(
            denoiser, self._latents, draws, condition.with_streams(streams), list(self._span.directions),
            executor=self._executor,
        )  # fmt: skip
        self._losses.append(weighted.mean(dim=1))
        # The condition is linear in the coordinates, so the streams' gradients say all that is needed.
        self._coordinates.grad = self._span.project({name: _gradient(stream) for name, stream in streams.items()})
        self._optimiser.step()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the images of some rows alone."""
        held = self._optimiser.state[self._coordinates]
        chosen = torch.as_tensor(rows, dtype=torch.long, device=self._latents.device)
        self._optimiser = self._optimise(self._coordinates.detach()[chosen])
        # What Adam has per element belongs to its image; the number of steps belongs to all.
        self._optimiser.state[self._coordinates] = {
            key: value[chosen] if value.dim() else value.clone() for key, value in held.items()
        }
        self._latents = self._latents[chosen]
        self._source.keep(rows)
        self._losses = [one[list(rows)] for one in self._losses]

    def result(self) -> SpanSearch:
        """Return what the images that are left have come to."""
        losses = torch.stack(self._losses, dim=1) if self._losses else torch.zeros(len(self._latents), 0)
        return SpanSearch(self.prompt_embeds.map(lambda tensor: tensor.cpu()), losses)


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
    """Search the span of texts for conditions under which the images are predicted best; see :class:`SpanSearcher`.

    latents:  (images, C, h, w) float32, scaled by the autoencoder's factor
    Returns   the conditions on the CPU, and the loss of every step
    """
    searcher = SpanSearcher(denoiser, latents, sha256s, span, config, run_seed=run_seed, executor=executor)
    for _ in range(config.steps):
        searcher.step()
    return searcher.result()


def _gradient(stream: torch.Tensor) -> torch.Tensor:
    assert stream.grad is not None
    return stream.grad
