"""The words of a prompt: where they stand, what their tokens weigh, and the prompt without one of them."""

import re
from collections.abc import Mapping, Sequence

from pydantic import Field

from imgaudit.schema.records import Record

WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+")
"""Letters and digits, with what joins them; or a run of punctuation."""

TokenSpan = tuple[int, int, int]
"""First character of a token, the one after its last, and its row in the stream."""


class WordWeight(Record):
    """A word of a prompt and how much the detection signal hangs on it."""

    text: str
    """As it stands in the prompt."""
    weight: float
    """|d loss / d e_i|_2 of its heaviest token; with several streams the sum over them, each times its scale over the
    first one's."""
    start: int = Field(ge=0)
    """Its first character."""
    end: int = Field(ge=0)
    """The one after its last."""


def weigh_words(
    prompt: str,
    spans: Mapping[str, Sequence[TokenSpan]],
    weights: Mapping[str, Sequence[float]],
    scales: Mapping[str, float],
) -> tuple[WordWeight, ...]:
    """The words of a prompt that tokens stand for, in their order; words that no encoder read are left out.

    spans:    stream to the tokens of the prompt itself: no BOS, EOS or padding
    weights:  stream to one weight per row
    scales:   stream to its root mean square

    >>> spans = {"text": [(0, 3, 1), (3, 5, 2), (6, 9, 3)]}
    >>> [(w.text, w.weight) for w in weigh_words("foxes run", spans, {"text": [9.0, 1.0, 3.0, 2.0]}, {"text": 1.0})]
    [('foxes', 3.0), ('run', 2.0)]
    """
    first = next(iter(spans), None)
    found = []
    for match in WORD.finditer(prompt):
        start, end = match.span()
        own = {
            name: [weights[name][row] for low, high, row in tokens if low < end and start < high]
            for name, tokens in spans.items()
        }
        if first is not None and any(own.values()):
            weight = sum(
                # A model of one stream needs no scale, and may have none: a closed-form one starts from zeros.
                max(rows) * (1.0 if name == first else scales[name] / scales[first])
                for name, rows in own.items()
                if rows
            )
            found.append(WordWeight(text=match.group(), weight=weight, start=start, end=end))
    return tuple(found)


def without_word(prompt: str, word: str) -> str:
    """The prompt without any occurrence of a word, by itself and not within another; the same prompt if it has none.

    >>> without_word("a red fox, red hill", "red")
    'a fox, hill'
    >>> without_word("a redder fox", "red")
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
