"""What every adapter owes: a check that whoever writes one, here or in another package, can run on a tiny model.

The pipeline itself is the measure. Whatever an adapter says of prompts, latents, time, signs and guidance shows in the
images that the pipeline makes when it is called in its own way.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.models.families.latent import LatentDenoiser

PROMPTS = ("a red fox", "one old clock")
"""Prompts of different lengths."""

SEEDS = (3, 11)
GUIDANCE_SCALE = 5.0
STEPS = 4

TOLERANCE = 1e-4
"""Largest difference of two numbers that should be the same, in units of the larger one or of 1."""

SLOPE_TOLERANCE = 0.05
"""Largest relative difference of a gradient from the slope that is measured; parts of networks stay in float32."""


def find_breaches(
    denoiser: LatentDenoiser,
    *,
    plain: Mapping[str, Any],
    guided: Mapping[str, Any] | None = None,
    prompts: Sequence[str] = PROMPTS,
) -> list[str]:
    """Return a sentence for everything in which an adapter differs from its pipeline; none is as it should be.

    It checks that weights are frozen, that two prompts together are encoded as each alone, that sampling gives the
    pipeline's images, that one step of the scheduler along the adapter's prediction is the pipeline's step, that the
    last latents decode to the pipeline's images, that gradients reach every stream with the measured slope, and that
    passes are counted.

    denoiser:  the adapter around a tiny pipeline in float32 on the CPU, of the real classes
    plain:     what a user gives the pipeline besides prompts, steps, latents and size, for images without guidance
    guided:    the same at a guidance scale of 5, with the null prompts; None where the scale is an input of the network
    prompts:   at least two, best of different lengths
    """
    breaches: list[str] = []
    for check in (
        _check_weights(denoiser),
        _check_conditions(denoiser, prompts),
        _check_samples(denoiser, prompts, plain, 1.0),
        _check_samples(denoiser, prompts, guided, GUIDANCE_SCALE) if guided is not None else (),
        _check_step(denoiser, prompts[:1], plain),
        _check_gradients(denoiser),
        _check_counts(denoiser, prompts[0]),
    ):
        breaches += check
    return breaches


def _differs(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first.shape != second.shape:
        return True
    scale = max(1.0, float(first.abs().max()), float(second.abs().max()))
    return not float((first - second).abs().max()) <= TOLERANCE * scale


def _check_weights(denoiser: LatentDenoiser) -> Iterator[str]:
    for name, part in denoiser.pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            if part.training:
                yield f"{name!r} is in training mode; expected evaluation mode"
            if any(weight.requires_grad for weight in part.parameters()):
                yield f"weights of {name!r} require gradients; expected frozen ones"


def _check_conditions(denoiser: LatentDenoiser, prompts: Sequence[str]) -> Iterator[str]:
    together = denoiser.condition(prompts)
    for row, prompt in enumerate(prompts):
        alone = denoiser.condition([prompt])
        for name, stream in alone.streams.items():
            if _differs(together.streams[name][row : row + 1], stream):
                yield f"stream {name!r} of {prompt!r} is another one beside other prompts than alone"
    start = denoiser.start_condition()
    for name, stream in start.streams.items():
        if start.free[name].shape != stream.shape[1:2] or not bool(start.free[name].any()):
            yield f"stream {name!r} has no rows that are free, or other ones than it has tokens"


def _call_pipeline(denoiser: LatentDenoiser, prompts: Sequence[str], given: Mapping[str, Any]) -> torch.Tensor:
    latents = draw_noise(list(SEEDS[: len(prompts)]), denoiser.latent_shape)
    size = {"height": denoiser.resolution, "width": denoiser.resolution}
    images: torch.Tensor = denoiser.pipeline(
        prompt=list(prompts), num_inference_steps=STEPS, latents=denoiser._packed(latents), output_type="pt",
        **(size | dict(given)),
    ).images  # fmt: skip
    return images.float() * 2 - 1


def _check_samples(
    denoiser: LatentDenoiser, prompts: Sequence[str], given: Mapping[str, Any], guidance_scale: float
) -> Iterator[str]:
    theirs = _call_pipeline(denoiser, prompts, given)
    ours = denoiser.sample(
        denoiser.condition(prompts), SEEDS[: len(prompts)], guidance_scale=guidance_scale, num_inference_steps=STEPS
    )
    if not float(theirs.std()) > 0.01:
        yield "the pipeline's images are of one colour, which compares with nothing: give its networks other weights"
    if _differs(ours, theirs):
        yield f"images sampled at guidance scale {guidance_scale:g} are not those of the pipeline"


def _check_step(denoiser: LatentDenoiser, prompts: Sequence[str], given: Mapping[str, Any]) -> Iterator[str]:
    latents = draw_noise(list(SEEDS[: len(prompts)]), denoiser.latent_shape)
    states: list[torch.Tensor] = []

    def keep(pipeline: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        states.append(tensors["latents"])
        return {}

    def keep_plainly(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        keep(None, step, timestep, {"latents": latents})

    # Older pipelines have a callback of another kind.
    known = inspect.signature(type(denoiser.pipeline).__call__).parameters
    told = {"callback_on_step_end": keep} if "callback_on_step_end" in known else {"callback": keep_plainly}
    images = _call_pipeline(denoiser, prompts, {**given, **told})
    # Step by step, from a scheduler that has taken none yet.
    scheduler = copy.deepcopy(denoiser.pipeline.scheduler)
    for name, start in (("_step_index", None), ("_begin_index", None), ("lower_order_nums", 0)):
        if hasattr(scheduler, name):
            setattr(scheduler, name, start)
    # Not what the callback is given: CogView4's is given sigmas.
    first = scheduler.timesteps[:1]
    # Flows count from 1 to the end of the path, and the adapters' timesteps from 0.
    index = first - 1 if denoiser.prediction_type == "flow" else first
    noisy = latents
    if hasattr(scheduler, "scale_model_input"):
        noisy = scheduler.scale_model_input(latents, first[0])
        scheduler._step_index = None
    with torch.no_grad():
        output = denoiser.predict(noisy, index, denoiser.condition(prompts)).output
    stepped = scheduler.step(output, first[0], latents, return_dict=False)[0]
    height, width = latents.shape[-2:]
    if _differs(stepped, denoiser._unpacked(states[0].float(), height, width)):
        yield (
            "one step of the scheduler along the adapter's prediction is not the pipeline's step: look at the sign, "
            "the time and the conditions that the network is given"
        )
    if _differs(denoiser.decode(denoiser._unpacked(states[-1], height, width)), images):
        yield "the pipeline's last latents do not decode to its images: look at scale, shift and packing"


def _check_gradients(denoiser: LatentDenoiser) -> Iterator[str]:
    dtype = denoiser.network.dtype
    _set_precision(denoiser.network, torch.float64)
    try:
        # Where an inversion starts: rows of zeros that a prompt may have are normalised, and nothing is straight there.
        condition = denoiser.start_condition()
        noisy = draw_noise([SEEDS[0]], denoiser.latent_shape).double()
        leaves = {name: stream.double().requires_grad_(True) for name, stream in condition.streams.items()}

        def measure(streams: Mapping[str, torch.Tensor]) -> torch.Tensor:
            given = condition.with_streams(dict(streams))
            return denoiser.predict(noisy, torch.tensor([400]), given).output.square().sum()

        gradients = torch.autograd.grad(measure(leaves), list(leaves.values()), allow_unused=True)
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            if gradient is None or not float(gradient.norm()) > 0:
                yield f"no gradient reaches stream {name!r}"
            elif not _slope_agrees(measure, leaves, name, leaf, gradient):
                yield f"the gradient into stream {name!r} is not the slope that is measured"
    finally:
        _set_precision(denoiser.network, dtype)


def _set_precision(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give weights another type, but for modules that diffusers keeps in float32 whatever it is asked for."""
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    for name, module in network.named_modules():
        if not kept & set(name.split(".")):
            for tensors in (module._parameters, module._buffers):
                for tensor in tensors.values():
                    if tensor is not None and tensor.is_floating_point():
                        tensor.data = tensor.data.to(dtype)


def _slope_agrees(
    measure: Callable[[Mapping[str, torch.Tensor]], torch.Tensor],
    leaves: Mapping[str, torch.Tensor],
    name: str,
    leaf: torch.Tensor,
    gradient: torch.Tensor,
) -> bool:
    """Compare a gradient's length with the slope along it, by central differences."""
    length, reach = float(gradient.norm()), 1e-2
    step = reach * gradient / length
    with torch.no_grad():
        up, down = (float(measure({**leaves, name: leaf + sign * step})) for sign in (1, -1))
    return abs((up - down) / (2 * reach) - length) <= SLOPE_TOLERANCE * length


def _check_counts(denoiser: LatentDenoiser, prompt: str) -> Iterator[str]:
    condition: PromptEmbeds = denoiser.condition([prompt])
    for scale, passes in ((1.0, 1), (GUIDANCE_SCALE, 2 if denoiser.is_guided_by_null else 1)):
        before = denoiser.network_evaluations
        denoiser.sample(condition, SEEDS[:1], guidance_scale=scale, num_inference_steps=STEPS)
        counted = denoiser.network_evaluations - before
        # Solvers of a higher order may take more passes than steps.
        if counted < passes * STEPS or counted % passes:
            yield f"{counted} passes were counted in {STEPS} steps at scale {scale:g}; expected {passes} a step"
