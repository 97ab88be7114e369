"""Token search: a prompt of a few words, found by gradients towards one image, that anybody can type.

An inverted embedding has room for the whole image; a handful of words does not. What such a prompt brings back
therefore comes from the model, and the bits it could have carried are printed beside it. Every candidate is judged as
text: decoded, encoded again by the pipeline, and never through the relaxation whose gradient proposed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import torch
from torch.nn.functional import one_hot

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.denoising_error import Draws, DrawSource, measure_errors, measure_row_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.schema.protocol import TokenSearchConfig


@dataclass(frozen=True)
class TokenPrompt:
    """The prompt that a search ended with."""

    text: str
    """Words separated by spaces; each is one token of the model's vocabulary."""
    bits: float
    """Most information that such a prompt can carry: words * log2(vocabulary)."""


def search_tokens(
    denoiser: Denoiser,
    latents: torch.Tensor,
    sha256s: Sequence[str],
    config: TokenSearchConfig,
    *,
    run_seed: int,
    executor: Executor,
) -> list[TokenPrompt]:
    """Search a prompt for every image of a chunk: greedy coordinate gradient (Zou et al. 2023, arXiv 2307.15043).

    Each iteration takes the gradient of the loss with respect to one-hot words, lists for every position the words
    that it favours, swaps one word at random in each of `candidates - 1` copies of the prompt, and keeps the best of
    them and the prompt itself on fresh draws. The loss is

        mean_b  log |f(x_{t_b}, t_b, c(text)) - target_b|^2 / elements        t_b, noise_b shared by the candidates

    whose logarithm keeps timesteps of large error from deciding alone. Images do not influence each other.

    latents:  (images, C, h, w) float32, scaled by the autoencoder's factor
    Returns   one prompt per image; network evaluations are at most `config.evaluations` per image

    Raises ValueError when the model has no words to search over.
    """
    if not denoiser.words:
        raise ValueError("this model's adapter has no words to search over")
    vocabulary, images = len(denoiser.words), len(sha256s)
    generators = [torch.Generator().manual_seed(draw_seed(run_seed, sha256, "token search")) for sha256 in sha256s]
    source = DrawSource(run_seed, sha256s, "token search draws", denoiser.latent_shape)
    chosen = torch.stack([torch.randint(vocabulary, (config.words,), generator=one) for one in generators])

    def fresh() -> Draws:
        return source.draw(config.timesteps, config.draws, denoiser.schedule.num_train_timesteps)

    for _ in range(config.iterations):
        slopes = _measure_slopes(denoiser, latents, fresh(), chosen, executor)
        candidates = torch.stack(
            [_swap_words(*one, config) for one in zip(chosen, slopes, generators, strict=True)]
        )  # (images, candidates, words)
        losses = _measure_losses(denoiser, latents, fresh(), candidates, executor)
        chosen = candidates[torch.arange(images), losses.argmin(dim=1)]
    bits = config.words * log2(vocabulary)
    return [TokenPrompt(_join_words(denoiser, words), bits) for words in chosen]


def _join_words(denoiser: Denoiser, words: torch.Tensor) -> str:
    return " ".join(denoiser.words[place] for place in words.tolist())


def _measure_slopes(
    denoiser: Denoiser, latents: torch.Tensor, draws: Draws, chosen: torch.Tensor, executor: Executor
) -> torch.Tensor:
    """Return the gradient of the loss in one-hot words: (images, words, vocabulary) on the CPU."""
    images, count = draws.timesteps.shape
    weights = one_hot(chosen, len(denoiser.words)).float().requires_grad_(True)
    owner = torch.arange(images).repeat_interleave(count)

    def accumulate(rows: slice) -> None:
        # The text encoder is passed again for every slice, so that no graph outlives its slice.
        condition = denoiser.condition_words(weights)
        errors, _ = measure_row_errors(denoiser, latents, draws, condition, owner, rows)
        (errors.log().sum() / count).backward()  # type: ignore[no-untyped-call]

    for _ in executor.slices(len(owner), accumulate):
        pass
    assert weights.grad is not None
    return weights.grad.cpu()


def _swap_words(
    words: torch.Tensor, slopes: torch.Tensor, generator: torch.Generator, config: TokenSearchConfig
) -> torch.Tensor:
    """Return the prompt itself and variations with one word swapped, all different: (candidates, words)."""
    listed = (-slopes).topk(min(config.shortlist, slopes.shape[1]), dim=1).indices
    pairs = torch.randperm(listed.numel(), generator=generator)[: config.candidates - 1]
    candidates = words.repeat(len(pairs) + 1, 1)
    positions = pairs // listed.shape[1]
    candidates[torch.arange(1, len(pairs) + 1), positions] = listed[positions, pairs % listed.shape[1]]
    if len(candidates) < config.candidates:
        candidates = torch.cat([candidates, words.repeat(config.candidates - len(candidates), 1)])
    return candidates


def _measure_losses(
    denoiser: Denoiser, latents: torch.Tensor, draws: Draws, candidates: torch.Tensor, executor: Executor
) -> torch.Tensor:
    """Return the loss of every candidate as text: (images, candidates), on the same draws for all of an image."""
    images, count, _ = candidates.shape
    condition = denoiser.condition([_join_words(denoiser, words) for words in candidates.flatten(0, 1)])
    shared = Draws(draws.timesteps.repeat_interleave(count, dim=0), draws.noise.repeat_interleave(count, dim=0))
    errors = measure_errors(denoiser, latents.repeat_interleave(count, dim=0), shared, condition, executor)
    return errors.log().mean(dim=1).reshape(images, count)
