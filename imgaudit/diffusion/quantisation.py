"""The dial: how few numbers of an inverted embedding still bring the image back.

An embedding of thousands of numbers could spell a small image out; the fewer bits it is cut down to, the less of the
image can be in them. The difference between the embedding and where its inversion started is written as a matrix of
low rank whose factors have few bits each, and sampled again.
"""

from collections.abc import Sequence

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.inversion import select_positions, select_streams

SETTINGS = tuple((rank, precision) for rank in (1, 2, 4, 8) for precision in (1, 2, 4, 8))
"""(rank, bits per number), each tried in order of the bits that it needs."""


def quantise(values: torch.Tensor, precision: int) -> torch.Tensor:
    """Round every row to 2**precision equal steps between its extremes; two floats of scale per row.

    values:  (rows, columns) float
    Returns  the same shape; the largest error is half a step

    >>> quantise(torch.tensor([[0.0, 0.4, 1.0]]), 1).tolist()
    [[0.0, 0.0, 1.0]]
    """
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    step = (high - low) / (2**precision - 1)
    return torch.where(step > 0, low + ((values - low) / step.clamp(min=1e-30)).round() * step, values)


def count_stored_bits(positions: int, width: int, rank: int, precision: int) -> int:
    """Return the bits of two quantised factors.

    That is rank * (positions + width) numbers, and two float scales for each of 2 * rank rows.

    >>> count_stored_bits(positions=15, width=64, rank=1, precision=4)
    444
    """
    return rank * (positions + width) * precision + 2 * rank * 2 * 32


def truncate_embedding(
    prompt_embeds: PromptEmbeds,
    start: PromptEmbeds,
    free_tokens: int | None,
    rank: int,
    precision: int,
    *,
    chosen: Sequence[str] | None = None,
) -> tuple[PromptEmbeds, int]:
    """Cut the difference of one embedding from its start to a rank and a precision, per stream.

    prompt_embeds:  one condition, as the inversion left it
    start:          the condition that the inversion started from
    free_tokens:    how many free positions the inversion changed; all when None
    chosen:         which streams it changed; all when None

    Returns the condition and the bits that it takes to tell it from the start.
    """
    streams, bits = dict(prompt_embeds.streams), 0
    for name in select_streams(start, chosen):
        stream = streams[name]
        base = start.streams[name].to(stream)
        positions = select_positions(start.free[name], free_tokens)
        left, sizes, right = torch.linalg.svd((stream - base)[0, positions].double(), full_matrices=False)
        kept = min(rank, len(sizes))
        scale = sizes[:kept].sqrt()
        first = quantise((left[:, :kept] * scale).T, precision)
        second = quantise(scale[:, None] * right[:kept], precision)
        approximate = base.clone()
        approximate[0, positions] += (first.T @ second).to(base)
        streams[name] = approximate
        bits += count_stored_bits(int(positions.sum()), stream.shape[2], kept, precision)
    return prompt_embeds.with_streams(streams), bits


def sort_settings(
    start: PromptEmbeds, free_tokens: int | None, chosen: Sequence[str] | None = None
) -> Sequence[tuple[int, int]]:
    """Sort the settings by the bits that they need for a model's embeddings."""
    shapes = [
        (int(select_positions(start.free[name], free_tokens).sum()), start.streams[name].shape[2])
        for name in select_streams(start, chosen)
    ]

    def bits(setting: tuple[int, int]) -> int:
        rank, precision = setting
        return sum(count_stored_bits(positions, width, min(rank, positions), precision) for positions, width in shapes)

    return sorted(SETTINGS, key=bits)
