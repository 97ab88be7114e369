"""The words of reports are those of the documentation."""

import re
from pathlib import Path

import pytest

from imgaudit.report.glossary import anchor_of, find_words, link_word, read_glossary

DOCUMENTED = Path(__file__).parents[2] / "docs" / "concepts" / "glossary.md"


def test_the_page_of_the_documentation_is_the_same_text() -> None:
    assert (
        DOCUMENTED.read_bytes()
        == (Path(__file__).parents[2] / "imgaudit" / "report" / "templates" / "glossary.md").read_bytes()
    ), "templates/glossary.md is the source: copy it with python examples/refresh_tables.py"


def test_every_row_is_read_and_none_keeps_markup() -> None:
    rows = [line for line in DOCUMENTED.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(read_glossary()) == len(rows) - 2
    assert not [meaning for meaning in read_glossary().values() if re.search(r"[*`\[\]|]|\.md", meaning)]
    anchors = [anchor_of(words) for words in read_glossary()]
    assert len(set(anchors)) == len(anchors) and all(re.fullmatch(r"[A-Za-z-]+", one) for one in anchors)


def test_words_are_found_in_the_plural_and_not_inside_others() -> None:
    assert [word for word, _ in find_words("Controls, hashes, ahead, and a Seed")] == [
        "control",
        "seed",
        "digest, hash",
    ]


def test_a_word_that_the_glossary_lacks_is_an_error_and_texts_are_escaped() -> None:
    assert str(link_word("<q>", "q")) == '<a class="term" href="glossary.html#q">&lt;q&gt;</a>'
    with pytest.raises(KeyError):
        link_word("flux capacitor")
