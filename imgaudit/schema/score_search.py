"""Words for the search behind a score: where the condition was looked for under which an image is predicted best."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from imgaudit.schema.baseline import BASELINE_NAME, BASELINE_WORDING, Baseline
from imgaudit.schema.protocol import Protocol, Search

SEARCH_WORDING: Mapping[Search, str] = MappingProxyType(
    {
        Search.TEXTS: "a sum of ordinary texts that a search found for it",
        Search.INVERSION: "numbers in place of words that a search found for it (inversion)",
    }
)
"""What predicts an image after a search, as messages say it."""

FOUND_WORDING: Mapping[Search, str] = MappingProxyType(
    {Search.TEXTS: "the sum of texts that the search found", Search.INVERSION: "the embedding"}
)
"""What a search found, as pages say it."""

CHART_WORDING: Mapping[Search, str] = MappingProxyType(
    {Search.TEXTS: "error under a sum of texts", Search.INVERSION: "inverted error"}
)
"""The error under what a search found, as axes of charts say it."""


def search_of(protocol: Protocol, prediction_type: str) -> Search:
    """Return the search that the scores of models that predict this are measured with.

    >>> search_of(Protocol(), "flow").value
    'inversion'
    """
    return Search.TEXTS if protocol.searches_span(prediction_type) else Search.INVERSION


def recorded_search(protocol: Protocol) -> Search:
    """Return the search of a null bank or a run, whose protocol is the model's own (Protocol.for_model).

    >>> recorded_search(Protocol()).value
    'inversion'
    """
    return Search.INVERSION if protocol.span is None else Search.TEXTS


def describe_score(search: Search, baselines: Collection[Baseline]) -> str:
    """Say what scores measure; empty where nothing has a score.

    >>> describe_score(Search.TEXTS, {"null"})
    'score: how much better the model predicts an image with a sum of ordinary texts that a search found for it than \
without text'
    """
    if not baselines:
        return ""
    compared = " or ".join(BASELINE_NAME[one] for one in sorted(baselines))
    return f"score: how much better the model predicts an image with {SEARCH_WORDING[search]} than {compared}"


def explain_search(search: Search, baseline: Baseline) -> str:
    """Return what the page of an image says about the search in the span of texts; empty for inversions.

    An inversion is explained where the page shows what came of it.
    """
    if search is Search.INVERSION:
        return ""
    return (
        "To measure the score, a search looked for the sum of ordinary texts with which the model predicts this image "
        f"best; its errors are {BASELINE_WORDING[baseline]}. The controls went through the same search, and images "
        "generated from an embedding come from another one (inversion)."
    )


def describe_measuring(protocol: Protocol, search: Search) -> str:
    """Say after what the error was measured.

    >>> describe_measuring(Protocol(), Search.INVERSION)
    'after 8 inversion steps'
    """
    if search is Search.INVERSION:
        return f"after {protocol.error.after_steps} inversion steps"
    assert protocol.span is not None
    return f"after {protocol.span.steps} steps of that search"


def describe_search_budget(protocol: Protocol, search: Search) -> str:
    """Say what the search in the span of texts takes for one image; empty for inversions, which pages name themselves.

    >>> describe_search_budget(Protocol(), Search.INVERSION)
    ''
    """
    if search is Search.INVERSION:
        return ""
    assert protocol.span is not None
    draws = "1 draw" if protocol.span.draws == 1 else f"{protocol.span.draws} draws"
    return f"{protocol.span.steps} steps of {draws} in the search among sums of texts"
