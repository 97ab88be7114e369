"""Words for a search over prompts: lists of words with frequencies, without any tokenizer."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from imgaudit.diffusion.paraphrase import read_synonyms
from imgaudit.exceptions import InputError
from imgaudit.io.reading import read_text
from imgaudit.io.tables import MAX_TABLE_BYTES, TABLE_SUFFIXES, read_prompts

MOST_WORDS = 200_000
"""Distinct words that are kept of a list, the most frequent ones."""

LONGEST_WORD = 64
"""Characters; longer ones are no words."""

SMOOTHING = 10.0
"""Occurrences that a word's followers get in proportion to their frequency, besides those that were counted."""

FEWEST_WORDS = 2
"""With one word there is nothing to search."""


class Candidate(NamedTuple):
    """A word that may take a place in a prompt."""

    word: str
    """Without white space."""
    log_weight: float
    """Addition to D / K in its log probability."""


class WordProposal(Protocol):
    """Proposes words for places in prompts, for many prompts at once."""

    @property
    def name(self) -> str:
        """Description for records and messages."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything that its candidates depend on."""

    def sentences(self, length: int, generators: Sequence[torch.Generator]) -> list[list[str]]:
        """Draw one random sentence of `length` words per generator: where chains start."""

    def candidates(
        self, sentences: Sequence[Sequence[str]], positions: Sequence[int], count: int,
        generators: Sequence[torch.Generator],
    ) -> list[list[Candidate]]:  # fmt: skip
        """Propose at most `count` words for one position of each sentence; the present word is always the first."""


class VocabularyProposal:
    """Words of a list by their frequency, whatever stands beside them.

    Where all words fit into the candidates, each is one, weighed by its log frequency: Gibbs sampling. Elsewhere the
    others are drawn by frequency, with replacement, and weigh the same as the present one. Either way a chain that
    draws among them with softmax(D / K + log weight) keeps the distribution

        p(words) ~ product of frequencies * exp(D(words) / K)

    (iterated sampling importance resampling: Andrieu, Lee & Vihola, Bernoulli 24, 2018, section 2).

    >>> proposal = VocabularyProposal({"fox": 2, "boat": 1}, "two words")
    >>> generator = torch.Generator().manual_seed(0)
    >>> [one.word for one in proposal.candidates([["boat", "boat"]], [1], 5, [generator])[0]]
    ['boat', 'fox']
    """

    def __init__(self, frequencies: Mapping[str, float], name: str) -> None:
        """Refuse fewer than two words, white space in a word, or a frequency of zero or less. Raises InputError."""
        if len(frequencies) < FEWEST_WORDS:
            raise InputError(
                f"{name}: expected at least {FEWEST_WORDS} words to search over, but found {len(frequencies)}; give "
                "more with --words-file"
            )
        if bad := next((word for word in frequencies if len(word.split()) != 1 or word != word.strip()), None):
            raise InputError(f"{name}: expected single words, but found {bad!r:.80}")
        if not all(weight > 0 for weight in frequencies.values()):
            raise InputError(f"{name}: expected positive frequencies")
        self.words = list(frequencies)
        self.name = f"{name} ({len(self.words):,} words)"
        self._frequencies = torch.tensor(list(frequencies.values()), dtype=torch.float64)
        self._place = {word: place for place, word in enumerate(self.words)}
        self._logs = self._frequencies.log().tolist()

    @property
    def digest(self) -> str:
        """Over words and frequencies in their order."""
        lines = (f"{word}\t{log:.6g}\n" for word, log in zip(self.words, self._logs, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _drawn(self, count: int, generator: torch.Generator) -> list[str]:
        # multinomial takes at most 2^24 categories; lists are shorter.
        rows = torch.multinomial(self._frequencies, count, replacement=True, generator=generator)
        return [self.words[row] for row in rows.tolist()]

    def sentences(self, length: int, generators: Sequence[torch.Generator]) -> list[list[str]]:
        """Draw words by frequency."""
        return [self._drawn(length, generator) for generator in generators]

    def candidates(
        self, sentences: Sequence[Sequence[str]], positions: Sequence[int], count: int,
        generators: Sequence[torch.Generator],
    ) -> list[list[Candidate]]:  # fmt: skip
        """Propose the whole list where it fits, and draws from it elsewhere."""
        found = []
        for sentence, position, generator in zip(sentences, positions, generators, strict=True):
            present = sentence[position]
            if present in self._place and len(self.words) <= count:
                order = [present, *(word for word in self.words if word != present)]
                found.append([Candidate(word, self._logs[self._place[word]]) for word in order])
            else:
                drawn = self._drawn(count - 1, generator)
                found.append([Candidate(word, 0.0) for word in (present, *drawn)])
        return found


class CaptionProposal:
    """Words as they follow each other in captions: a Markov chain of first order, whose prompts read like captions.

        q(w_1 ... w_n) ~ P(w_1 | begin) P(w_2 | w_1) ... P(w_n | w_n-1) P(end | w_n)
        P(b | a) = (count(a, b) + s f(b)) / (count(a) + s)        f: frequency of b, s: `SMOOTHING`

    Prompts that read like nothing can move a model far towards pictures of nothing; a language model keeps the search
    where captions are. Candidates for a place are drawn from q(w | the words beside it), and all weigh the same: with
    softmax(D / K) a chain keeps q(prompt) exp(D / K), as in `VocabularyProposal`. Lengths are those of captions.

    >>> proposal = CaptionProposal(["a red fox", "a red boat", "two red boats"], "captions")
    >>> sentence = proposal.sentences(3, [torch.Generator().manual_seed(0)])[0]
    >>> 1 <= len(sentence) <= 3 and set(sentence) <= {"a", "red", "fox", "boat", "two", "boats"}
    True
    """

    def __init__(self, captions: Sequence[str], name: str, also: Sequence[str] = ()) -> None:
        """also: further words, each counted once, of which it is not known what they follow.

        Raises InputError for captions of fewer than two distinct words.
        """
        counts = Counter(word for caption in captions for word in split_caption(caption))
        counts.update(word for word in dict.fromkeys(also) if word not in counts and split_caption(word) == [word])
        kept = [word for word, _ in counts.most_common(MOST_WORDS)]
        if len(kept) < FEWEST_WORDS:
            raise InputError(f"{name}: expected at least {FEWEST_WORDS} words to search over, but found {len(kept)}")
        self.words = kept
        self.name = f"{name} ({len(kept):,} words)"
        self._place = {word: place for place, word in enumerate(kept)}
        end = len(kept)
        pairs: Counter[tuple[int, int]] = Counter()
        for caption in captions:
            places = [self._place[word] for word in split_caption(caption) if word in self._place]
            if places:
                pairs.update(zip([end, *places], [*places, end], strict=True))
        rows, columns = np.array(list(pairs)).T
        values = np.array(list(pairs.values()), dtype=np.float64)
        # Row a, column b: how often b follows a; the last one stands for both beginning and end.
        self._follows = csr_array((values, (rows, columns)), shape=(end + 1, end + 1))
        self._precedes = self._follows.tocsc()
        self._totals = self._follows.sum(axis=1)
        times = np.array([counts[word] for word in kept] + [self._follows[:, [end]].sum()], dtype=np.float64)
        self._share = times / times.sum()

    @property
    def digest(self) -> str:
        """Over words and counts in their order."""
        digest = hashlib.sha256("\n".join(self.words).encode())
        for part in (self._follows.indptr, self._follows.indices, self._follows.data):
            digest.update(np.ascontiguousarray(part, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def _after(self, place: int) -> npt.NDArray[np.float64]:
        """Return P(. | word), the end among them."""
        counts = np.asarray(self._follows[[place]].todense(), dtype=np.float64)[0]
        return np.asarray((counts + SMOOTHING * self._share) / (self._totals[place] + SMOOTHING), dtype=np.float64)

    def _before(self, place: int) -> npt.NDArray[np.float64]:
        """Return P(word | .) for every word before it."""
        counts = np.asarray(self._precedes[:, [place]].todense(), dtype=np.float64)[:, 0]
        return np.asarray((counts + SMOOTHING * self._share[place]) / (self._totals + SMOOTHING), dtype=np.float64)

    def sentences(self, length: int, generators: Sequence[torch.Generator]) -> list[list[str]]:
        """Draw word by word until a sentence ends, `length` words at most."""
        found = []
        for generator in generators:
            places: list[int] = []
            while len(places) < length:
                weights = self._after(places[-1] if places else len(self.words))
                if not places:
                    weights[-1] = 0
                [place] = _draw_places(weights, 1, generator)
                if place == len(self.words):
                    break
                places.append(place)
            found.append([self.words[place] for place in places])
        return found

    def candidates(
        self, sentences: Sequence[Sequence[str]], positions: Sequence[int], count: int,
        generators: Sequence[torch.Generator],
    ) -> list[list[Candidate]]:  # fmt: skip
        """Draw from q(w | the words beside it), the present word first; a word that the list lacks is no neighbour."""
        found = []
        for sentence, position, generator in zip(sentences, positions, generators, strict=True):
            end = len(self.words)
            left = self._place.get(sentence[position - 1]) if position else end
            right = self._place.get(sentence[position + 1]) if position + 1 < len(sentence) else end
            weights = (self._share if left is None else self._after(left)).copy()
            if right is not None:
                weights *= self._before(right)
            weights[end] = 0
            drawn = [self.words[place] for place in _draw_places(weights, count - 1, generator)]
            found.append([Candidate(word, 0.0) for word in (sentence[position], *drawn)])
        return found


def _draw_places(weights: npt.NDArray[np.float64], count: int, generator: torch.Generator) -> list[int]:
    drawn: list[int] = torch.multinomial(
        torch.from_numpy(weights), count, replacement=True, generator=generator
    ).tolist()
    return drawn


def split_caption(text: str) -> list[str]:
    """Split a caption into words with the marks at them; without words that are too long, or cannot be printed.

    >>> split_caption(f"A red fox, by Anna {chr(0)}")
    ['A', 'red', 'fox,', 'by', 'Anna']
    """
    return [word for word in text.split() if len(word) <= LONGEST_WORD and word.isprintable()]


def count_words(texts: Sequence[str]) -> dict[str, float]:
    """Count the distinct words of texts; most frequent first.

    Marks around a word are left off; words that are longer than 64 characters or hold unprintable characters or no
    letter and no digit are left out.

    >>> count_words(["A red fox, by Anna", "red <b> boat!"])
    {'red': 2.0, 'A': 1.0, 'fox': 1.0, 'by': 1.0, 'Anna': 1.0, 'b': 1.0, 'boat': 1.0}
    """
    counts: Counter[str] = Counter()
    for text in texts:
        for given in text.split():
            word = re.sub(r"^\W+|\W+$", "", given)
            if 0 < len(word) <= LONGEST_WORD and word.isprintable() and any(letter.isalnum() for letter in word):
                counts[word] += 1
    return {word: float(count) for word, count in counts.most_common(MOST_WORDS)}


def read_words(path: Path) -> CaptionProposal:
    """Read the words of a file of captions as they follow each other there.

    path:  text of at most 256 MB with one caption per line, or a table as `imgaudit.io.tables.read_prompts` takes it
    Raises InputError for a file that cannot be read, or that has fewer than two words.
    """
    if path.suffix.lower() in TABLE_SUFFIXES:
        captions = [one.text for one in read_prompts(path)]
    else:
        captions = read_text(path, MAX_TABLE_BYTES, "file of captions").split("\n")
    return CaptionProposal(captions, f"captions of {path.name[:80]!r}")


def make_vocabulary_proposal(words: Sequence[str]) -> VocabularyProposal:
    """Propose a model's own words, all equally frequent; without any, the list that comes with imgaudit.

    words:  `Denoiser.words`
    """
    usable = count_words(words)
    if len(usable) >= FEWEST_WORDS:
        return VocabularyProposal(dict.fromkeys(usable, 1.0), "the model's own words")
    return VocabularyProposal(dict.fromkeys(count_words(list(read_synonyms())), 1.0), "imgaudit's list of words")
