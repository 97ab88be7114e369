"""Conditions that an optimiser may change: mixtures of a model's words, or the prompt embeddings themselves."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.inversion import select_streams

ConditionKind = Literal["mixture", "embedding"]
"""A Gumbel-softmax mixture of words at every position, or free prompt embeddings."""


class SoftCondition(ABC):
    """One condition per image of a chunk, each with parameters of its own."""

    kind: ConditionKind

    @abstractmethod
    def parameters(self, image: int) -> dict[str, torch.Tensor]:
        """Return what is optimised for one image: name to a float32 leaf on the CPU or the embeddings' device."""

    @abstractmethod
    def learning_rates(self, learning_rate: float) -> dict[str, float]:
        """Return the learning rate of each parameter."""

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw noise of `count` conditions of one image, (count, ...) float32 on the CPU; (count, 0) for none."""

    @abstractmethod
    def at(self, owners: Sequence[int], noise: torch.Tensor) -> PromptEmbeds:
        """Return one condition per row, differentiable in the parameters.

        owners:  the image of each row
        noise:   (rows, ...): what `draw` gave for it
        """


class WordMixture(SoftCondition):
    """InvMM's condition: at every position a mixture of words, softmax((omega + g) / temperature), g ~ Gumbel(0, 1).

    omega starts at zero, where all words weigh the same. torch's own gumbel_softmax takes no generator.
    """

    kind = "mixture"

    def __init__(self, denoiser: Denoiser, images: int, temperature: float) -> None:
        self._denoiser, self._temperature = denoiser, temperature
        shape = (denoiser.word_positions, len(denoiser.words))
        self._logits = [torch.zeros(shape, requires_grad=True) for _ in range(images)]

    def parameters(self, image: int) -> dict[str, torch.Tensor]:
        """Return the logits, (positions, words)."""
        return {"logits": self._logits[image]}

    def learning_rates(self, learning_rate: float) -> dict[str, float]:
        """Return the rate as given: logits have the scale of the Gumbel noise, whatever the model."""
        return {"logits": learning_rate}

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw Gumbel noise, (count, positions, words)."""
        exponential = torch.empty(count, *self._logits[0].shape).exponential_(generator=generator)
        # An exponential draw may round to 0, whose logarithm is no number to add to.
        return -exponential.clamp_min(torch.finfo(exponential.dtype).tiny).log()

    def at(self, owners: Sequence[int], noise: torch.Tensor) -> PromptEmbeds:
        """Return the text encoder's output for the mixtures."""
        logits = torch.stack([self._logits[image] for image in owners])
        return self._denoiser.condition_words(((logits + noise) / self._temperature).softmax(dim=2))


class FreeEmbedding(SoftCondition):
    """Prompt embeddings at their free positions, for models that have no words to mix.

    An embedding can say what no mixture of words can, so that what it takes compares with other embeddings only.
    """

    kind = "embedding"

    def __init__(self, denoiser: Denoiser, start: PromptEmbeds, streams: Sequence[str] | None) -> None:
        """start: one condition per image; streams: those that are optimised, all when None."""
        self._start = start
        self._scales = denoiser.start_condition().root_mean_square()
        names = select_streams(start, streams)
        self._own = [
            {name: start.streams[name][image].detach().clone().float().requires_grad_(True) for name in names}
            for image in range(len(start))
        ]

    def parameters(self, image: int) -> dict[str, torch.Tensor]:
        """Return the optimised streams, (tokens, width) each."""
        return self._own[image]

    def learning_rates(self, learning_rate: float) -> dict[str, float]:
        """Return rates in units of the root mean square of each stream of the start condition, as in inversion."""
        return {name: learning_rate * (self._scales[name] or 1.0) for name in self._own[0]}

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw nothing: embeddings are not random."""
        return torch.empty(count, 0)

    def at(self, owners: Sequence[int], noise: torch.Tensor) -> PromptEmbeds:
        """Return the embeddings; positions that are not free stay where they started."""
        rows = self._start.select(torch.tensor(list(owners), dtype=torch.long))
        streams = dict(rows.streams)
        for name in self._own[0]:
            changed = torch.stack([self._own[image][name] for image in owners])
            free = self._start.free[name].to(changed.device)[:, None]
            streams[name] = torch.where(free, changed, rows.streams[name].to(changed))
        return rows.with_streams(streams)


def make_soft_condition(
    denoiser: Denoiser, start: PromptEmbeds, *, temperature: float, streams: Sequence[str] | None = None
) -> SoftCondition:
    """Make a mixture of words where the model has any, and embeddings that begin at `start` where it has none.

    start:    one condition per image
    streams:  of an embedding that are optimised; an embedding is made where they are named, words or not
    """
    if streams is None and denoiser.words and denoiser.word_positions:
        return WordMixture(denoiser, len(start), temperature)
    return FreeEmbedding(denoiser, start, streams)
