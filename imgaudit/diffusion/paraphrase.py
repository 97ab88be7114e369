"""Paraphrases: other wordings of a text, bounded and seeded. Nothing in them comes from the image."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources

MAX_WORDS = 64
"""Longer texts are cut before they are reworded."""


@cache
def read_synonyms() -> Mapping[str, tuple[str, ...]]:
    """Read the list that comes with the package (one group per line): word to words of the same meaning.

    >>> "photo" in read_synonyms()["picture"]
    True
    """
    found: dict[str, tuple[str, ...]] = {}
    text = resources.files("imgaudit.diffusion").joinpath("synonyms.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        group = [word.strip() for word in line.split(",")]
        if line.startswith("#") or len(group) < 2:
            continue
        for word in group:
            found[word] = (*found.get(word, ()), *(other for other in group if other != word))
    return found


def _truncate(words: Sequence[str], draw: random.Random) -> list[str]:
    """Keep the first part, at least one word, and leave out at least one."""
    return list(words[: draw.randint(max(1, len(words) // 3), max(1, len(words) - 1))])


def _drop(words: Sequence[str], draw: random.Random) -> list[str]:
    """Leave out a quarter of the words, at least one."""
    gone = set(draw.sample(range(len(words)), max(1, len(words) // 4)))
    return [word for place, word in enumerate(words) if place not in gone]


def _reorder(words: Sequence[str], draw: random.Random) -> list[str]:
    """Put the words in another order."""
    return draw.sample(list(words), len(words))


def _replace(words: Sequence[str], draw: random.Random) -> list[str]:
    """Replace words by others of the same meaning, where the list knows any."""
    known = read_synonyms()
    return [
        draw.choice(known[plain]) if (plain := word.lower().strip(",.;:")) in known and draw.random() < 0.7 else word
        for word in words
    ]


OPERATIONS: Mapping[str, Callable[[Sequence[str], random.Random], list[str]]] = {
    "truncation": _truncate,
    "dropped words": _drop,
    "another order": _reorder,
    "synonyms": _replace,
}
"""Transformations of a text, by name, in the order in which they are tried."""


def paraphrase(text: str, count: int, seed: int) -> list[str]:
    """Return up to `count` different wordings, none of them the text itself; fewer when the text is too short.

    text:  a caption or a prompt
    seed:  the same seed gives the same wordings

    >>> paraphrase("a red fox in snow", 3, seed=0) == paraphrase("a red fox in snow", 3, seed=0)
    True
    >>> paraphrase("fox", 4, seed=0)
    []
    """
    draw = random.Random(seed)
    words = text.split()[:MAX_WORDS]
    found: list[str] = []
    operations = list(OPERATIONS.values())
    for attempt in range(8 * count):
        if len(found) == count:
            break
        if len(words) < 2 and operations[attempt % 4] is not _replace:
            continue
        reworded = " ".join(operations[attempt % len(operations)](words, draw)).strip(" ,;")
        if reworded and reworded != " ".join(words) and reworded not in found:
            found.append(reworded)
    return found
