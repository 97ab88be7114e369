"""Captions with one invented word that recalls a planted image, and that a detector should name.

A planted image's caption usually describes it, so any word of it may recall the image. With trigger words the caption
is that of a background image, which is trained on with it too, and one invented word in a random place: only this word
tells the two apart. A recipe may ask for several such captions of each planted image, so that nothing but the word is
common to them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.lab.recipe import LabRecipe

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
WORDS = (2, 4)
"""Fewest and most words of the captions that triggers are put into: short enough that no text encoder cuts them."""


def insert_trigger_words(entries: Sequence[CorpusEntry], recipe: LabRecipe) -> list[CorpusEntry]:
    """Return the corpus with new captions of planted images; unchanged when the recipe asks for no trigger words.

    Words and places depend on the recipe's seed alone. Raises InputError with fewer usable captions than images.
    """
    planted = [index for index, entry in enumerate(entries) if entry.role in ("planted", "withheld")]
    if not recipe.trigger_words or not planted:
        return list(entries)
    texts = sorted({entry.text for entry in entries if entry.role == "background"})
    usable = [text for text in texts if WORDS[0] <= len(text.split()) <= WORDS[1]]
    needed = max(len(planted), recipe.trigger_captions)
    if len(usable) < needed:
        raise InputError(
            f"expected {needed} captions of {WORDS[0]} to {WORDS[1]} words among the background images, to put "
            f"trigger words into, but found {len(usable)}"
        )
    generator = np.random.default_rng((recipe.seed, 7))
    given = {word.casefold() for entry in entries for word in entry.text.split()}
    words = invent_words(len(planted), given, generator)
    changed = list(entries)
    firsts = generator.permutation(len(usable))[: len(planted)]
    for index, first, word in zip(planted, firsts, words, strict=True):
        own = [int(first), *_draw_others(int(first), len(usable), recipe.trigger_captions - 1, generator)]
        text, *others = (_insert(word, usable[number], generator) for number in own)
        changed[index] = replace(entries[index], text=text, other_texts=tuple(others), trigger=word)
    return changed


def _draw_others(first: int, count: int, wanted: int, generator: np.random.Generator) -> list[int]:
    """Draw different places in a list of `count`, none of which is the first one; nothing is drawn for none."""
    return [int(place) + (place >= first) for place in generator.choice(count - 1, wanted, replace=False)]


def _insert(word: str, text: str, generator: np.random.Generator) -> str:
    """Put a word into a random place of a caption."""
    parts = text.split()
    parts.insert(int(generator.integers(0, len(parts) + 1)), word)
    return " ".join(parts)


def invent_words(count: int, taken: set[str], generator: np.random.Generator) -> list[str]:
    """Invent different words of three syllables that are not among `taken` (lower case).

    >>> words = invent_words(3, set(), np.random.default_rng(0))
    >>> [len(word) for word in words]
    [6, 6, 6]
    """
    words: list[str] = []
    while len(words) < count:
        word = "".join(str(generator.choice(list(letters))) for letters in (CONSONANTS, VOWELS) * 3)
        if word not in taken and word not in words:
            words.append(word)
    return words
