"""Inversion: optimise prompt embeddings until the model predicts one image well.

Noise and timestep are drawn afresh at every step, so that an embedding must work for any noise; a fixed pair would fit
one trajectory and prove nothing. Everything is optimised in float32 against frozen weights. The number of steps and
draws is fixed beforehand and recorded: with enough of them any image can be forced out of any model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.denoising_error import Draws, DrawSource, measure_errors, measure_row_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.schedules import LossWeighting, weigh_losses
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.exceptions import ConfigError
from imgaudit.schema.protocol import InversionConfig


@dataclass(frozen=True)
class Inversion:
    """Result of inverting a chunk of images."""

    prompt_embeds: PromptEmbeds
    """One inverted condition per image."""
    losses: torch.Tensor
    """(images, steps) float32: loss of each step on its own fresh draws, before its update."""
    paired_timesteps: torch.Tensor
    """(images, pairs) int64: timesteps of the draws of the steps that were paired."""
    paired_conditional: torch.Tensor
    """(images, pairs) float32: error in the output space under the embedding of that step."""
    paired_null: torch.Tensor
    """(images, pairs) float32: error of the null condition on the same draws."""


def make_initial_streams(
    denoiser: Denoiser, sha256s: Sequence[str], config: InversionConfig, run_seed: int
) -> dict[str, torch.Tensor]:
    """Return where the embeddings start, on the CPU: name to (images, tokens, width) float32.

    null    the model's start condition, which is the null condition of most
    random  standard normal at the free positions, with the start condition's root mean square; streams that are not
            optimised are at the start condition all the same
    """
    start = denoiser.start_condition()
    scale = start.root_mean_square()
    streams = {}
    for name, stream in start.streams.items():
        rows = stream.detach().cpu().repeat(len(sha256s), 1, 1)
        # Closed-form denoisers start from zeros; noise of scale 1 is then the natural start.
        spread = scale[name] or 1.0
        if config.initialisation == "random" and name in select_streams(start, config.streams):
            for row, sha256 in enumerate(sha256s):
                generator = torch.Generator("cpu").manual_seed(draw_seed(run_seed, sha256, f"initialisation:{name}"))
                noise = torch.randn(rows.shape[1:], generator=generator) * spread
                rows[row] = torch.where(start.free[name][:, None], noise, rows[row])
        streams[name] = rows
    return streams


def select_positions(free: torch.Tensor, free_tokens: int | None) -> torch.Tensor:
    """Return the positions of one stream that inversion changes: the first `free_tokens` free ones, or all of them.

    >>> select_positions(torch.tensor([False, True, True, True]), 2).tolist()
    [False, True, True, False]
    """
    return free if free_tokens is None else free & (free.cumsum(0) <= free_tokens)


def select_streams(prompt_embeds: PromptEmbeds, streams: Sequence[str] | None) -> list[str]:
    """Return the names of the streams that inversion changes, in the model's order: the chosen ones, or all.

    Raises ConfigError for a stream that the model does not have.

    >>> condition = PromptEmbeds({"clip": torch.zeros(1, 3, 4), "pooled": torch.zeros(1, 1, 4)}, {})
    >>> select_streams(condition, ["pooled"])
    ['pooled']
    """
    names = list(prompt_embeds.streams)
    if unknown := [name for name in streams or () if name not in names]:
        raise ConfigError(
            f"the model has no stream {unknown[0]!r}; expected one or more of {', '.join(names)} for --streams"
        )
    return names if streams is None else [name for name in names if name in streams]


def require_streams(denoiser: Denoiser, streams: Sequence[str] | None) -> None:
    """Raise ConfigError when a stream was chosen that the model does not have."""
    if streams is not None:
        select_streams(denoiser.null_condition(), streams)


def count_embedding_bits(
    prompt_embeds: PromptEmbeds, free_tokens: int | None, streams: Sequence[str] | None = None
) -> float:
    """Count the bits of the numbers of one embedding that an inversion may choose, 32 each.

    >>> free = {"text": torch.tensor([False, True, True])}
    >>> count_embedding_bits(PromptEmbeds({"text": torch.zeros(1, 3, 4)}, free), None)
    256.0
    """
    return float(
        sum(
            32
            * int(select_positions(prompt_embeds.free[name], free_tokens).sum())
            * prompt_embeds.streams[name].shape[2]
            for name in select_streams(prompt_embeds, streams)
        )
    )


def accumulate_gradients(
    denoiser: Denoiser,
    latents: torch.Tensor,
    draws: Draws,
    prompt_embeds: PromptEmbeds,
    names: Sequence[str],
    *,
    weighting: LossWeighting = "native",
    executor: Executor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Measure the errors of one step, and add the gradient of their weighted mean per image to streams of their own.

    prompt_embeds:  one condition per image
    names:          the streams that gradients are added to, which must be leaves that require them
    Returns         the errors and the weighted errors, (images, draws) float32 on the CPU
    """
    images, count = draws.timesteps.shape
    streams = [prompt_embeds.streams[name] for name in names]
    owner = torch.arange(images).repeat_interleave(count)

    def accumulate(rows: slice) -> torch.Tensor:
        errors, timesteps = measure_row_errors(denoiser, latents, draws, prompt_embeds, owner, rows)
        weights = weigh_losses(weighting, denoiser.prediction_type, denoiser.schedule.snr(timesteps))  # type: ignore[arg-type]
        loss = (errors * weights.to(errors)).sum().div(count)
        # All gradients of a slice or none: one that runs out of memory halfway is repeated as a whole.
        gradients = torch.autograd.grad(loss, streams)
        for stream, gradient in zip(streams, gradients, strict=True):
            stream.grad = gradient if stream.grad is None else stream.grad + gradient
        return torch.stack([errors.detach(), (errors.detach() * weights.to(errors))]).cpu()

    raw, weighted = torch.cat(list(executor.slices(images * count, accumulate)), dim=1).reshape(2, images, count)
    return raw, weighted


class Inverter:
    """The inversion of a chunk of images, in steps: it can stop in between, and go on with some of the images.

    Images do not influence each other: the loss is a sum over them and Adam works element by element. So what an image
    ends with depends on no other one, within floating point rounding.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        latents: torch.Tensor,
        sha256s: Sequence[str],
        config: InversionConfig,
        *,
        run_seed: int,
        executor: Executor,
    ) -> None:
        """Put every image at the start; see :func:`invert`. Raises ConfigError for a stream that the model lacks."""
        self._denoiser, self._latents, self._config, self._executor = denoiser, latents, config, executor
        self._start = start = denoiser.start_condition()
        scale, names = start.root_mean_square(), select_streams(start, config.streams)
        self._everything = {
            name: stream.to(latents.device)
            for name, stream in make_initial_streams(denoiser, sha256s, config, run_seed).items()
        }
        self._masks = {
            name: select_positions(start.free[name], config.free_tokens).to(latents.device)[:, None] for name in names
        }
        self._rates = {name: config.learning_rate * (scale[name] or 1.0) for name in names}
        self._optimiser = self._make_optimiser()
        self._condition = start.repeat(len(sha256s))
        self._source = DrawSource(run_seed, sha256s, "inversion", denoiser.latent_shape)
        self._losses: list[torch.Tensor] = []
        self._paired: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def _make_optimiser(self) -> torch.optim.Adam:
        streams = [(self._everything[name].requires_grad_(True), rate) for name, rate in self._rates.items()]
        return torch.optim.Adam([{"params": [stream], "lr": rate} for stream, rate in streams])

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self._losses)

    @property
    def prompt_embeds(self) -> PromptEmbeds:
        """The conditions so far, detached, on the device."""
        return self._condition.with_streams({name: one.detach() for name, one in self._everything.items()})

    def step(self, *, paired: bool = False) -> None:
        """Take one step on fresh draws; with `paired`, the null error on them is measured too."""
        config, denoiser = self._config, self._denoiser
        draws = self._source.draw(config.timesteps, config.draws, denoiser.schedule.num_train_timesteps)
        self._optimiser.zero_grad(set_to_none=True)
        raw, weighted = accumulate_gradients(
            denoiser, self._latents, draws, self._condition.with_streams(self._everything), list(self._rates),
            weighting=config.weighting, executor=self._executor,
        )  # fmt: skip
        self._losses.append(weighted.mean(dim=1))
        if paired:
            # The draws are fresh, so the step's own errors are out of sample; only the null's are missing.
            null = denoiser.null_condition().repeat(len(raw))
            errors = measure_errors(denoiser, self._latents, draws, null, self._executor)
            self._paired.append((draws.timesteps, raw, errors))
        for name, mask in self._masks.items():
            gradient = self._everything[name].grad
            assert gradient is not None
            gradient.mul_(mask)
        self._optimiser.step()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the images of some rows alone."""
        held = {name: self._optimiser.state[self._everything[name]] for name in self._rates}
        chosen = torch.as_tensor(rows, dtype=torch.long, device=self._latents.device)
        self._everything = {name: stream.detach()[chosen] for name, stream in self._everything.items()}
        self._optimiser = self._make_optimiser()
        for name, state in held.items():
            # What Adam has per element belongs to its image; the number of steps belongs to all.
            self._optimiser.state[self._everything[name]] = {
                key: value[chosen] if value.dim() else value.clone() for key, value in state.items()
            }
        self._latents = self._latents[chosen]
        self._condition = self._start.repeat(len(rows))
        self._source.keep(rows)
        self._losses = [one[list(rows)] for one in self._losses]
        self._paired = [(times[list(rows)], raw[list(rows)], null[list(rows)]) for times, raw, null in self._paired]

    def result(self) -> Inversion:
        """Return what the images that are left have come to."""
        streams = {name: stream.detach().cpu() for name, stream in self._everything.items()}
        images = len(self._latents)
        empty = torch.zeros(images, 0)
        losses = torch.stack(self._losses, dim=1) if self._losses else empty
        timesteps, conditional, null_errors = (
            [torch.cat(part, dim=1) for part in zip(*self._paired, strict=True)]
            if self._paired
            else (empty.long(), empty, empty)
        )
        inverted = PromptEmbeds(streams, self._start.free, self._condition.extras)
        return Inversion(inverted, losses, timesteps, conditional, null_errors)


def invert(
    denoiser: Denoiser,
    latents: torch.Tensor,
    sha256s: Sequence[str],
    config: InversionConfig,
    *,
    run_seed: int,
    executor: Executor,
    paired_steps: int = 0,
    on_step: Callable[[int, PromptEmbeds], None] = lambda step, prompt_embeds: None,
) -> Inversion:
    """Invert a chunk of images together.

    Per image, Adam minimises over the free positions of the chosen streams (DoRI, arXiv 2507.16880, with the choices of
    :class:`InversionConfig`)

        mean_b  w(t_b) |f(x_{t_b}, t_b, c) - target_b|^2 / elements        fresh t_b, noise_b at every step

    latents:  (images, C, h, w) float32, scaled by the autoencoder's factor
    paired_steps:  how many of the last steps also measure the null error on their own draws
    on_step:  called after every step with its number, from 1, and the conditions so far, detached
    Returns   embeddings on the CPU in float32, and the loss of every step
    Raises ConfigError for a stream that the model does not have
    """
    inverter = Inverter(denoiser, latents, sha256s, config, run_seed=run_seed, executor=executor)
    for step in range(1, config.steps + 1):
        inverter.step(paired=step > config.steps - paired_steps)
        on_step(step, inverter.prompt_embeds)
    return inverter.result()
