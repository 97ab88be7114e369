"""The size: a model predicts images best at the size that it was trained on, which its configuration may not say.

Above all where there is almost nothing but noise: what a network then says of an image is what images of its size look
like. Errors are divided by those of the Wiener filter, which knows how much detail there is to predict at each size.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks.denoising import image_errors
from imgaudit.diffusion.model_checks.images import CheckImages, encode, make_check
from imgaudit.diffusion.model_checks.predictors import cosine_variances, draw_nested_noise, wiener_error
from imgaudit.schema.model_checks import ModelCheck

PARTS = (0.95, 0.99)
"""Timesteps at which sizes are compared, as parts of the schedule."""

NEIGHBOURS = (3 / 4, 4 / 3)
"""Other sizes that are tried, as multiples of the declared one."""

MOST_RATIO = 1.0
"""Largest error at the declared size, as a multiple of the error at the best other size."""

CONFIDENCE = 0.95
"""Confidence of the bound by which the ratio is judged: which size is better may be chance over 16 images."""

Floats = npt.NDArray[np.float64]


def choose_neighbours(side: int, multiple: int) -> list[int]:
    """Return the sides of latents to compare with a declared one: the nearest that the network halves without rest.

    >>> choose_neighbours(8, 4), choose_neighbours(6, 4), choose_neighbours(64, 8)
    ([4, 12], [4, 8], [48, 88])
    """
    sides = []
    for factor in NEIGHBOURS:
        near = round(side * factor / multiple) * multiple
        if factor < 1 and near >= side:
            near = (side - 1) // multiple * multiple
        elif factor > 1 and near <= side:
            near = (side // multiple + 1) * multiple
        if near >= max(multiple, 2):
            sides.append(near)
    return sides


def check_size(
    denoiser: Denoiser, images: CheckImages, sides: Sequence[int], seed: int, executor: Executor
) -> list[ModelCheck]:
    """Compare errors at the declared size with those at other sizes; nothing where no other size can be tried.

    sides:  other sides of latents
    """
    declared = denoiser.latent_shape[1]
    largest = max([declared, *sides])
    errors = {declared: _relative_errors(denoiser, images, declared, largest, seed, executor)}
    for side in sides:
        try:
            errors[side] = _relative_errors(denoiser, images, side, largest, seed, executor)
        except (RuntimeError, ValueError):
            # A network with a table of positions takes no larger input: then it was not trained on one either.
            continue
    return _compare(errors, declared)


def _compare(errors: Mapping[int, Floats], declared: int) -> list[ModelCheck]:
    others = {side: error for side, error in errors.items() if side != declared and error.sum() > 0}
    if not others:
        return []
    best = min(others, key=lambda side: float(others[side].mean()))
    ratio, bound = bound_ratio(errors[declared], others[best])
    return [
        make_check(
            "error at the declared size", ratio,
            f"with latents of {declared} x {declared}, the size that the configuration gives, the network's error is "
            f"{ratio:.2f} times that with {best} x {best} (lower bound {bound:.2f}); see sample_size in the network's "
            "config.json", high=MOST_RATIO, lower_bound=bound,
        )
    ]  # fmt: skip


def bound_ratio(errors: Floats, others: Floats) -> tuple[float, float]:
    """Return the ratio of two means over the same images, and its one-sided 95 % lower bound.

    The bound is `exp(log r - t s)`: r is the ratio, s the jackknife's standard error of its logarithm (Tukey 1958),
    and t the 95 % quantile of Student's distribution for one image less. It is 0 where the images cannot tell: a single
    one, or all errors in a single one.

    errors, others:  (N,) of the same images, at least 0

    >>> ratio, bound = bound_ratio(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    >>> round(ratio, 6), round(bound, 6)
    (2.0, 2.0)
    """
    n, ratio = len(errors), float(errors.sum() / others.sum())
    # Each image is left out once, which changes both means.
    rest, rest_of_others = errors.sum() - errors, others.sum() - others
    if not (math.isfinite(ratio) and (rest > 0).all() and (rest_of_others > 0).all()):
        return ratio, 0.0
    without = np.log(rest / rest_of_others)
    spread = math.sqrt((n - 1) / n * float(np.square(without - without.mean()).sum()))
    return ratio, math.exp(math.log(ratio) - float(stats.t.ppf(CONFIDENCE, n - 1)) * spread)


def _relative_errors(
    denoiser: Denoiser, images: CheckImages, side: int, largest: int, seed: int, executor: Executor
) -> Floats:
    """Return the error per image, its mean over noise levels, as a multiple of that of the Wiener filter: (N,)."""
    latents = encode(denoiser, images.at(side * denoiser.resolution // denoiser.latent_shape[1]), executor)
    variances = cosine_variances(latents)
    generator = torch.Generator("cpu").manual_seed(seed)
    ratios: list[Floats] = []
    for part in PARTS:
        timestep = int(part * denoiser.schedule.num_train_timesteps)
        signal, spread = (float(share) for share in denoiser.schedule.shares(torch.tensor([timestep])))
        if not (signal > 0 and spread > 0):
            continue
        noise = draw_nested_noise(len(latents), latents.shape[1], side, largest, generator)
        errors = image_errors(denoiser, latents, timestep, noise, executor).numpy()
        # Latents that are all the same leave nothing to predict, and no filter to compare with.
        if (guess := wiener_error(variances, signal, spread)) > 0:
            ratios.append(errors / guess)
    return np.asarray(np.mean(ratios, axis=0) if ratios else np.full(len(latents), math.nan), dtype=np.float64)
