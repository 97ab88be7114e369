"""The words of the file are those of the documentation."""

import re
from pathlib import Path

from imgaudit.report.counsel.glossary import GLOSSARY, find_words

DOCUMENTED = Path(__file__).parents[3] / "docs" / "concepts" / "glossary.md"


def test_every_word_has_the_meaning_that_the_documentation_gives() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", DOCUMENTED.read_text(), re.MULTILINE))
    for word, meaning in GLOSSARY.items():
        assert meaning == re.sub(r"(: )?\[[^\]]*\]\([^)]*\)|\*", "", rows[word]), word


def test_words_are_found_in_the_plural_and_not_inside_others() -> None:
    assert [word for word, _ in find_words("Controls, hashes, ahead, and a Seed").rows] == [
        "control",
        "seed",
        "digest, hash",
    ]
