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
"""Printed wherever a p-value of a set stands."""


def set_level_text(summary: Summary) -> str:
    """Return the test of the set in a few sentences, or why there is none; empty in reports of older versions."""
    found = summary.set_level
    if found is None:
        return ""
    if isinstance(found, Skipped):
        return f"The works were not compared as a set: {found.skipped}."
    return f"{_describe(found)} {SET_LIMIT}"


def format_p_value(found: SetLevel) -> str:
    """Return a p-value that no rounding makes smaller than permutations can.

    >>> found = SetLevel(p_value=1e-4, works=9, left_out=0, controls=99, ahead={}, permutations=9999, seed=1)
    >>> format_p_value(found)
    'p = 0.0001'
    """
    return f"p = {found.p_value:.3g}"


def _describe(found: SetLevel) -> str:
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
        f"{format_p_value(found)}: {found.works} works, near copies and series counted once, were ranked together with "
        f"{found.controls} controls {legs}; {higher}. If nothing but chance told the works from the controls, they "
        f"would rank so high with probability at most {found.p_value:.3g} ({found.permutations:,} permutations, seed "
        f"{found.seed}). Share of pairs of a work and a control in which the work is higher, 50 % where they are "
        f"alike: {pairs}.{left}"
    )
