"""The test of a portfolio as one set, in words: the same on pages, in the terminal and in Markdown."""

from collections.abc import Mapping

from imgaudit.schema.findings import Summary
from imgaudit.schema.records import Skipped
from imgaudit.schema.set_level import SetLeg, SetLevel

LEG_WORDING: Mapping[SetLeg, str] = {"score": "by their scores", "caption": "by their scores under captions"}
"""The legs, as a sentence names them."""

SET_LIMIT = (
    "This is one test beside those of single images: no verdict rests on it, and it says nothing about any one work. A "
    "small probability shows a difference between these works and the controls, not its cause: training is one, and "
    "another origin, style or way of writing captions is another, which adds up over many works even where it is "
    "slight. Zhang et al. (2024, arXiv 2409.19798) hold that no such test can prove training, because nobody can draw "
    "controls that are known to differ from the works in nothing else. A large probability does not show that the "
    "works were not used."
)
"""What no p-value of a set shows, in full; the sentence with the number has the gist of it."""

SET_POINTER = 'How it was counted stands in the report, under "The works as a set".'
"""Where the sentence with the number stands alone, this follows it."""


def set_level_text(summary: Summary) -> str:
    """Return what the test of the set found and what that means, or why there is none; empty in older reports."""
    found = summary.set_level
    if found is None:
        return ""
    if isinstance(found, Skipped):
        return f"The works were not compared as a set: {found.skipped}."
    counted = f"{found.controls:,} controls: by chance alone they would rank so high with probability at most "
    if found.p_value <= summary.level:
        return (
            f"As a set, these {found.works:,} works score higher than the {counted}{found.p_value:.3g}. The cause may "
            "be training, but also another style, origin or way of writing captions; no verdict rests on it."
        )
    return (
        f"As a set, these {found.works:,} works do not clearly score higher than the {counted}{found.p_value:.3g}. "
        "That does not show that they were not used; no verdict rests on it."
    )


def set_level_pointer(summary: Summary) -> str:
    """Return the sentence for the terminal and Markdown, with where to read more; empty in older reports."""
    said = set_level_text(summary)
    return f"{said} {SET_POINTER}" if isinstance(summary.set_level, SetLevel) else said


def set_level_details(summary: Summary) -> str:
    """Return how the works were compared as a set, in a few sentences; empty where they were not."""
    found = summary.set_level
    if not isinstance(found, SetLevel):
        return ""
    legs = " and ".join(LEG_WORDING[leg] for leg in found.ahead)
    higher = "the higher of both mean ranks counts" if len(found.ahead) > 1 else "their mean rank counts"
    pairs = ", ".join(f"{share:.0%} {LEG_WORDING[leg]}" for leg, share in found.ahead.items())
    left = (
        f" {found.left_out} more {'was' if found.left_out == 1 else 'were'} measured and left out, because of an alarm "
        "or for lack of a caption."
        if found.left_out
        else ""
    )
    return (
        f"The works, near copies and series counted once, were ranked together with the controls {legs}; {higher}. "
        f"{format_p_value(found)}, from {found.permutations:,} permutations with seed {found.seed}: it is how often "
        "random exchanges of works with controls rank as high. Of all pairs of a work and a control, the work is "
        f"higher in {pairs}; where they are alike, it is in half of them.{left}"
    )


def format_p_value(found: SetLevel) -> str:
    """Return a p-value that no rounding makes smaller than permutations can.

    >>> found = SetLevel(p_value=1e-4, works=9, left_out=0, controls=99, ahead={}, permutations=9999, seed=1)
    >>> format_p_value(found)
    'p = 0.0001'
    """
    return f"p = {found.p_value:.3g}"
