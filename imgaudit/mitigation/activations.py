"""How strongly the inner features of feed-forward blocks answer to prompts, step by step of guided sampling."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import Linear

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.guided_trajectory import choose_timesteps, step_latents
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.exceptions import ConfigError
from imgaudit.schema.records import Record


class TrajectorySettings(Record):
    """The steps of a sampling trajectory that are measured."""

    steps: int = 10
    """First steps, the noisiest ones (Chavhan et al.: 10)."""
    sampling_steps: int = 50
    """Steps of the whole trajectory (Chavhan et al.: 50)."""
    guidance_scale: float = 7.5
    """Guidance scale of the trajectory."""
    seed: int = 0
    """Run seed."""


ColumnNorms = Mapping[str, torch.Tensor]
"""Layer to (steps, inner width) float64 on the CPU, >= 0; higher answers more."""


def measure_column_norms(
    denoiser: Denoiser,
    layers: Mapping[str, Linear],
    prompts: Sequence[str],
    settings: TrajectorySettings,
    *,
    executor: Executor,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ColumnNorms:
    """Root mean square of every inner feature over prompts and tokens, at each of the first sampling steps.

    For layer l, step k and feature j, over the rows z (one per prompt and token) that go into the layer when the
    network predicts under the prompts:

        a_lk[j] = sqrt( mean over rows of (z[j] / |z|)^2 )

    Rows are normalised as published. The published norm is a sum over rows, so that sets of different sizes cannot be
    compared; this is its root mean square. Only conditional predictions count: with both halves of classifier-free
    guidance in one batch, half of the statistics would be the empty prompt's. Steps are known by the loop that makes
    them, not by counting calls. Every prompt has an initial noise of its own, which depends on its place alone.

    layers:  of the denoiser's network, as `find_feed_forward_outputs` names them
    Raises ConfigError for a model without a null branch, which has no guided trajectory.
    """
    if denoiser.no_null:
        raise ConfigError(f"weights are located along guided sampling: {denoiser.no_null}")
    timesteps = choose_timesteps(denoiser.schedule, max(settings.sampling_steps, settings.steps))
    condition, null = denoiser.condition(prompts), denoiser.null_condition()
    seeds = [draw_seed(settings.seed, "", "feed-forward activations", place) for place in range(len(prompts))]
    noise = draw_noise(seeds, denoiser.latent_shape)
    sums, rows, done = _no_sums(layers, settings.steps), dict.fromkeys(layers, 0), 0

    def measure(part: slice) -> tuple[int, dict[str, torch.Tensor], dict[str, int]]:
        # Counted apart: a slice that ran out of memory half-way must not have been counted.
        own_sums, own_rows = _no_sums(layers, settings.steps), dict.fromkeys(layers, 0)
        x, own = noise[part], condition.select(part)
        nulls = null.repeat(len(x))
        for step in range(settings.steps):
            times = timesteps[step].repeat(len(x))
            with torch.no_grad():
                base = denoiser.predict(x, times, nulls)
                with _recording(layers, own_sums, own_rows, step):
                    found = denoiser.predict(x, times, own)
                if step + 1 < settings.steps:
                    x = step_latents(base, found, settings.guidance_scale, timesteps[step + 1])
        return len(x), own_sums, own_rows

    for size, more_sums, more_rows in executor.slices(len(prompts), measure):
        for name in layers:
            sums[name] += more_sums[name]
            rows[name] += more_rows[name]
        done += size
        on_progress(done, len(prompts))
    return {name: (sums[name] / (rows[name] / settings.steps)).sqrt() for name in layers}


def _no_sums(layers: Mapping[str, Linear], steps: int) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(steps, layer.in_features, dtype=torch.float64) for name, layer in layers.items()}


@contextmanager
def _recording(
    layers: Mapping[str, Linear], sums: dict[str, torch.Tensor], rows: dict[str, int], step: int
) -> Iterator[None]:
    """Add up the squares of what goes into the layers, for as long as the context lasts."""

    def record(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def hook(layer: Any, arguments: tuple[torch.Tensor, ...]) -> None:
            z = arguments[0].detach().flatten(0, -2).double()
            z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(math.ulp(0.0))
            sums[name][step] += z.square().sum(dim=0).cpu()
            rows[name] += len(z)

        return hook

    handles = [layer.register_forward_pre_hook(record(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
