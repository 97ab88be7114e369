"""Words for the search behind a score."""

import itertools

import pytest

from imgaudit.schema.baseline import BASELINE_NAME, BASELINE_WORDING
from imgaudit.schema.protocol import Protocol, Search, SpanConfig
from imgaudit.schema.score_search import (
    CHART_WORDING,
    FOUND_WORDING,
    SEARCH_WORDING,
    describe_measuring,
    describe_score,
    describe_search_budget,
    explain_search,
    recorded_search,
    search_of,
)

SEARCHED = Protocol(span=SpanConfig())


def test_every_search_and_baseline_has_its_words() -> None:
    for words in (SEARCH_WORDING, FOUND_WORDING, CHART_WORDING):
        assert set(words) == set(Search)
    assert set(BASELINE_NAME) == set(BASELINE_WORDING)


def test_the_terminal_says_what_predicts_an_image_better_than_what() -> None:
    for search, baseline in itertools.product(Search, BASELINE_NAME):
        line = describe_score(search, {baseline})
        assert f"an image with {SEARCH_WORDING[search]} than {BASELINE_NAME[baseline]}" in line
    assert "than without text or with an empty prompt" in describe_score(Search.TEXTS, {"start", "null"})
    assert describe_score(Search.TEXTS, set()) == ""


@pytest.mark.parametrize(
    ("protocol", "predicted", "search"),
    [(SEARCHED, "flow", Search.TEXTS), (SEARCHED, "epsilon", Search.INVERSION), (Protocol(), "flow", Search.INVERSION)],
)
def test_the_search_follows_from_protocol_and_model(protocol: Protocol, predicted: str, search: Search) -> None:
    assert search_of(protocol, predicted) is search
    assert recorded_search(protocol.for_model(predicted)) is search


def test_the_search_among_texts_is_explained_in_two_sentences_and_its_steps_are_told() -> None:
    said = explain_search(Search.TEXTS, "start")
    assert said.count(". ") == 1 and BASELINE_WORDING["start"] in said
    assert describe_measuring(SEARCHED, Search.TEXTS) == "after 128 steps of that search"
    assert describe_search_budget(SEARCHED, Search.TEXTS) == "128 steps of 1 draw in the search among sums of texts"
    assert explain_search(Search.INVERSION, "null") == ""
