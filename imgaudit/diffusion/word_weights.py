"""Which words of a prompt move the network's prediction: each is left out, and what is lost is measured.

    m_g(c) = |f(x_T^g, T, c) - f(x_T^g, T, null)|_2                  f: the network's raw output
    w_i    = mean over initial noises g of  1 - m_g(c without word i) / m_g(c)

m is the magnitude of Wen et al. (ICLR 2024, arXiv 2407.21720) at the noisiest timestep T. At 1 the prompt does nothing
without the word, at 0 the word does nothing, and below 0 it holds the others back. Weights need not add up to 1: where
two words must stand together, each has the whole weight, and where either of two is enough, neither has any.

Wen et al. (section 2.2) weigh a word by the gradient of m at its own rows of the text encoder's output. An encoder that
reads from left to right writes a word into the rows after it as well, and a gradient says how m would change with a
little more of a word, not what it would be without it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.schema.detection import WordWeight
from imgaudit.schema.records import Skipped

WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+")
"""Letters and digits, with what joins them; or a run of punctuation."""

MOST_WORDS = 75
"""Different words that are weighed, the first ones: as many as CLIP has room for, where each is one token."""

NOT_FINITE = "the network's prediction is not finite when one of the words is left out"

TokenSpan = tuple[int, int, int]
"""First character of a token, the one after its last, and its row in the stream."""


@dataclass(frozen=True)
class ReadWord:
    """A word of a prompt that a text encoder reads."""

    text: str
    """As it is written."""
    places: Sequence[tuple[int, int]]
    """First character and the one after the last of each of its occurrences that is read."""


def remove_word(prompt: str, word: str) -> str:
    """Return the prompt without any occurrence of a word that is not part of another; unchanged if it has none.

    >>> remove_word("a red fox, red hill", "red")
    'a fox, hill'
    >>> remove_word("a redder fox", "red")
    'a redder fox'
    """
    kept, place = [], 0
    for match in WORD.finditer(prompt):
        if match.group() == word:
            kept.append(prompt[place : match.start()])
            # One of the two spaces around it goes with it.
            after = match.end()
            place = after + (prompt[after : after + 1].isspace() and (not kept[-1] or kept[-1][-1:].isspace()))
    return "".join([*kept, prompt[place:]]) if kept else prompt


def find_read_words(prompt: str, spans: Mapping[str, Sequence[TokenSpan]]) -> list[ReadWord]:
    """Return the different words of a prompt in their order, at most 75; punctuation is left out.

    spans:  stream to the prompt's own tokens; words and occurrences that none of them touches are left out, as no
            encoder reads them. Without any stream all count.

    >>> [(word.text, word.places) for word in find_read_words("red, red fox", {"text": [(0, 3, 1), (3, 4, 2)]})]
    [('red', [(0, 3)])]
    """
    places: dict[str, list[tuple[int, int]]] = {}
    for match in WORD.finditer(prompt):
        start, end = match.span()
        is_read = any(low < end and start < high for tokens in spans.values() for low, high, _ in tokens)
        if match.group()[0].isalnum() and (is_read or not spans):
            places.setdefault(match.group(), []).append((start, end))
    return [ReadWord(text, own) for text, own in places.items()][:MOST_WORDS]


def weigh_words(
    denoiser: Denoiser, prompts: Sequence[str], noise: torch.Tensor, timestep: torch.Tensor, executor: Executor
) -> list[tuple[WordWeight, ...] | Skipped]:
    """Weigh the words of prompts in batches over words and noises; one result per prompt, in order.

    It costs a pass for every noise and every different word, two more for every noise, and no gradient.

    noise:     (S, C, h, w) float32, standard normal: the latents at the noisiest timestep
    timestep:  () int64, the noisiest

    >>> from imgaudit.models import FiniteSetDenoiser
    >>> model = FiniteSetDenoiser(torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)]))
    >>> noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> [words] = weigh_words(model, ["picture 1"], noise, torch.tensor(99), Executor(8))
    >>> [(word.text, round(word.weight, 3)) for word in words]
    [('1', 1.0)]
    """
    words = [find_read_words(prompt, denoiser.token_spans(prompt)) for prompt in prompts]
    texts = [
        text
        for prompt, own in zip(prompts, words, strict=True)
        for text in (prompt, *(remove_word(prompt, word.text) for word in own))
    ]
    magnitudes = measure_magnitudes(denoiser, texts, noise, timestep, executor)
    found: list[tuple[WordWeight, ...] | Skipped] = []
    place = 0
    for own in words:
        whole, without = magnitudes[place], magnitudes[place + 1 : place + 1 + len(own)]
        place += 1 + len(own)
        lost = torch.where(whole == 0, 0.0, 1 - without / whole).mean(dim=1)
        found.append(_make_weights(own, lost.tolist()))
    return found


@torch.no_grad()
def measure_magnitudes(
    denoiser: Denoiser, texts: Sequence[str], noise: torch.Tensor, timestep: torch.Tensor, executor: Executor
) -> torch.Tensor:
    """Return m of each text at each noise: (texts, S) float64 on the CPU."""
    seeds = len(noise)
    null = denoiser.predict(noise, timestep.repeat(seeds), denoiser.null_condition().repeat(seeds)).output

    def measure(rows: slice) -> torch.Tensor:
        numbers = torch.arange(rows.start, rows.stop)
        first, drawn = rows.start // seeds, numbers % seeds
        # Encoded in slices as well: text encoders can be larger than the network.
        condition = denoiser.condition(texts[first : (rows.stop - 1) // seeds + 1]).select(numbers // seeds - first)
        found = denoiser.predict(noise[drawn], timestep.repeat(len(drawn)), condition).output
        norms: torch.Tensor = torch.linalg.vector_norm((found - null[drawn.to(null.device)]).flatten(1), dim=1)
        return norms.double().cpu()

    norms = torch.cat(list(executor.slices(len(texts) * seeds, measure)))
    return norms.reshape(-1, seeds)


def _make_weights(words: Sequence[ReadWord], lost: Sequence[float]) -> tuple[WordWeight, ...] | Skipped:
    """Return one weight for every occurrence, in the order of the prompt."""
    if not all(map(math.isfinite, lost)):
        return Skipped(skipped=NOT_FINITE)
    weights = [
        WordWeight(text=word.text, weight=weight, start=start, end=end)
        for word, weight in zip(words, lost, strict=True)
        for start, end in word.places
    ]
    return tuple(sorted(weights, key=lambda one: one.start))
