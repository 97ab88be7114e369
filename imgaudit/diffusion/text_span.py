"""The span of texts: conditions that are sums of what a model's text encoders make of ordinary words.

Almost every embedding that an inversion could choose is one that no text gives, and from such embeddings any image can
be forced out of a model. Sums of the embeddings of texts are far fewer. Among them a caption that the model was
trained with is found much sooner than an image that it never saw can be forced.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.exceptions import ConfigError
from imgaudit.schema.protocol import SpanConfig

COMMONEST = 20_000
"""Words of the vocabulary that texts are made of: tokenizers list the commonest first."""

WORDS = (3, 7)
"""Fewest and most words of a text."""

BATCH = 64
"""Texts that are encoded at once."""


def compose_texts(vocabulary: Sequence[str], count: int) -> list[str]:
    """Return texts of 3 to 7 words drawn from the vocabulary, the same ones at every call.

    Words of one or two letters, and whatever is not all letters, are left out, unless fewer than 7 words remain: texts
    are then made of all tokens. Raises ConfigError when there are fewer than 7 of those.

    >>> compose_texts(["red", "house", "tree", "boat", "under", "the", "moon"], 1)
    ['moon boat red tree the house']
    """
    words = [word for word in vocabulary if len(word) > 2 and word.isalpha()]
    if len(words) < WORDS[1]:
        words = list(vocabulary)
    if len(words) < WORDS[1]:
        raise ConfigError(
            f"texts are made of the words of the model's vocabulary, but it has only {len(words)} tokens to make them "
            f"of; expected at least {WORDS[1]}. Measure the score with --search inversion"
        )
    words = words[:COMMONEST]
    draw = random.Random(0)
    return [" ".join(draw.sample(words, draw.randint(*WORDS))) for _ in range(count)]


@dataclass(frozen=True)
class TextSpan:
    """The mean of texts' embeddings, and the directions in which they differ most."""

    mean: PromptEmbeds
    """One condition, at the mean of the texts; what is not a stream is the start condition's."""
    directions: Mapping[str, torch.Tensor]
    """Stream to (directions, tokens, width) float32: principal components, each as long as one standard deviation of
    the texts along it. One direction changes all streams together, as one text would."""

    shares: torch.Tensor
    """(texts, directions) float32: the share of every text in every direction; columns are orthonormal."""

    def __len__(self) -> int:
        return len(next(iter(self.directions.values())))

    def condition(self, coordinates: torch.Tensor) -> PromptEmbeds:
        """Return one condition per row of coordinates: mean + sum over k of coordinate k times direction k.

        coordinates:  (N, directions) float32, in standard deviations of the texts
        """
        streams = {
            name: self.mean.streams[name] + torch.einsum("nk,ktw->ntw", coordinates, directions)
            for name, directions in self.directions.items()
        }
        return self.mean.select(torch.zeros(len(coordinates), dtype=torch.long)).with_streams(streams)

    def project(self, gradients: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the gradient with respect to the coordinates, (N, directions), from the streams' (N, tokens, width)"""
        return torch.stack(
            [torch.einsum("ntw,ktw->nk", gradients[name], directions) for name, directions in self.directions.items()]
        ).sum(dim=0)


def span_texts(denoiser: Denoiser, config: SpanConfig) -> TextSpan:
    """Encode texts made of the model's own words, and find the directions in which their embeddings differ most.

    Principal components of all streams side by side, every stream scaled to the same total variance. They are found
    from the products of the texts with each other, so that memory grows with texts times embedding and no faster; all
    texts together are only ever in the machine's own memory, and the directions end on the model's device.
    Raises ConfigError when the vocabulary has too few words.
    """
    texts = compose_texts(denoiser.vocabulary, config.texts)
    batches = (texts[first : first + BATCH] for first in range(0, len(texts), BATCH))
    encoded = PromptEmbeds.concatenate(
        [denoiser.unmasked_condition(batch).map(lambda tensor: tensor.cpu()) for batch in batches]
    ).streams
    means = {name: stream.mean(dim=0, keepdim=True) for name, stream in encoded.items()}
    products = torch.zeros(len(texts), len(texts), dtype=torch.float64)
    for name, stream in encoded.items():
        centred = (stream - means[name]).flatten(1)
        together = (centred @ centred.T).double()
        # The trace is the stream's total variance, times the number of texts.
        products += together / (float(together.trace()) or 1.0)
    values, vectors = torch.linalg.eigh(products)
    # Ascending; centring leaves one direction fewer than texts.
    count = min(config.directions, len(texts) - 1)
    # A component is the texts' weighted sum; divided by the root of their number it is one standard deviation long.
    shares = vectors.flip(1)[:, :count]
    weights = (shares / len(texts) ** 0.5).T
    keep = values.flip(0)[:count] > 1e-9 * float(values.max())
    start = denoiser.start_condition()
    directions = {
        name: torch.einsum("kn,ntw->ktw", weights[keep].to(stream), stream - means[name]).to(start.streams[name])
        for name, stream in encoded.items()
    }
    mean = start.with_streams({name: means[name].to(start.streams[name]) for name in means})
    return TextSpan(mean, directions, shares[:, keep].float())
