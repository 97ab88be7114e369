"""A norm clamp: the network gets no condition that is larger than those of real prompts.

An inverted embedding is free to grow far beyond what a text encoder returns. An owner can cut this off, in code of the
model's own or behind an API:

    clamped(row) = row * min(1, limit / |row|_2)        row: one token's; limit: the largest norm in encodings of texts

The audit sees the model through the clamp. Its inversion passes through the clamp too, and so it searches among
conditions that the clamp leaves alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.schedules import Prediction
from imgaudit.mitigation.mitigated import MitigatedDenoiser

TEXTS_AT_ONCE = 256
"""Texts that are encoded together."""


def clamp_norms(rows: torch.Tensor, limit: float) -> torch.Tensor:
    """Return rows (..., width) of which none has a Euclidean norm above `limit`; shorter rows are not changed.

    >>> clamp_norms(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.30000001192092896, 0.4000000059604645]]
    """
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return torch.where(norms > limit, rows * (limit / norms.clamp(min=1e-12)), rows)


def find_largest_norms(denoiser: Denoiser, texts: Sequence[str]) -> dict[str, float]:
    """Return, per stream, the largest norm of a token row in the encodings of some texts."""
    largest: dict[str, float] = {}
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        for name, stream in denoiser.condition(texts[start : start + TEXTS_AT_ONCE]).streams.items():
            norm = float(torch.linalg.vector_norm(stream, dim=-1).max())
            largest[name] = max(norm, largest.get(name, 0.0))
    return largest


class NormClamp(MitigatedDenoiser):
    """The model with a clamp before its network, wherever conditions come from."""

    def __init__(self, denoiser: Denoiser, limits: Mapping[str, float]) -> None:
        """limits: the largest norm of a token row, per stream; a stream without a limit is not clamped."""
        listed = " ".join(f"{name}={limit!r}" for name, limit in sorted(limits.items()))
        super().__init__(denoiser, f"norm clamp {listed}")
        self.limits = dict(limits)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """Pass through the network once, with clamped conditions; differentiable in the streams."""
        return self.denoiser.predict(noisy, timesteps, self._clamped(prompt_embeds))

    @contextmanager
    def sampling(
        self, prompt_embeds: PromptEmbeds, seeds: Sequence[int], latents: torch.Tensor | None
    ) -> Iterator[PromptEmbeds]:
        """Yield the clamped conditions."""
        yield self._clamped(prompt_embeds)

    def _clamped(self, prompt_embeds: PromptEmbeds) -> PromptEmbeds:
        return prompt_embeds.with_streams(
            {
                name: clamp_norms(stream, self.limits[name]) if name in self.limits else stream
                for name, stream in prompt_embeds.streams.items()
            }
        )
