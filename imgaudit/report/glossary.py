"""Words of reports with their meaning, from templates/glossary.md, which is also a page of the documentation."""

import re
from functools import cache
from importlib import resources

import markupsafe

PAGE = "glossary.html"
"""Name of the page in RUN/report."""

_ROW = re.compile(r"^\| ([^|]+) \| (.+) \|$", re.MULTILINE)

_MARKUP = re.compile(r"(: )?\[[^\]]*\]\([^)]*\)|[*`]")
"""Links, which lead to other pages of the documentation, and emphasis."""


@cache
def read_glossary() -> dict[str, str]:
    """Return the meaning of every word, in the order of the page, as plain text.

    >>> read_glossary()["seed"]
    'the number from which one random initial noise is made. A model gives another image for each seed'
    """
    text = (resources.files("imgaudit.report") / "templates" / "glossary.md").read_text(encoding="utf-8")
    return {word: _MARKUP.sub("", meaning) for word, meaning in _ROW.findall(text) if word not in ("word", "---")}


@cache
def _anchors() -> dict[str, str]:
    """Return the place of every word on the page; several words may share one entry."""
    return {one: anchor_of(words) for words in read_glossary() for one in words.split(", ")}


def anchor_of(words: str) -> str:
    """Return the id of an entry on the page.

    >>> anchor_of("replica, copy"), anchor_of("score under the caption"), anchor_of("the model's autoencoder")
    ('replica', 'score-under-the-caption', 'the-models-autoencoder')
    """
    return words.partition(", ")[0].replace(" ", "-").replace("'", "")


@cache
def link_word(text: str, word: str = "") -> markupsafe.Markup:
    """Return a link from a text to its meaning on the glossary page.

    word:  as the glossary has it, where the text has another form
    Raises KeyError for a word that the glossary lacks.

    >>> str(link_word("Controls", "control"))
    '<a class="term" href="glossary.html#control">Controls</a>'
    """
    anchor = _anchors().get(word or text) or _anchors()[word or text.lower()]
    return markupsafe.Markup('<a class="term" href="{}#{}">{}</a>').format(PAGE, anchor, text)


@cache
def explain_word(heading: str, word: str) -> markupsafe.Markup:
    """Return a link to the meaning of a heading that is something else already, such as a button."""
    link = '<a class="term" href="{}#{}" aria-label="Meaning of {}">?</a>'
    return markupsafe.Markup(link).format(PAGE, _anchors()[word], heading)


def find_words(text: str) -> list[tuple[str, str]]:
    """Return the words that occur in a text, in any case and in the plural, with their meaning.

    >>> find_words("Two seeds.")[0][0]
    'seed'
    """
    return [(word, meaning) for word, meaning in read_glossary().items() if _occurs(word, text)]


def _occurs(words: str, text: str) -> bool:
    return any(re.search(rf"\b{re.escape(word)}(e?s)?\b", text, re.IGNORECASE) for word in words.split(", "))
