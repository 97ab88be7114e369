"""The answer to the question of a report, in one sentence, with the verdict that gives it its colour."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from imgaudit.schema.comparison import REPRODUCED
from imgaudit.schema.findings import Finding, Summary, Verdict
from imgaudit.schema.records import DECIDING_RUNGS

_ORDER = (*REPRODUCED, Verdict.ATYPICAL, Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.NOT_REPRODUCED)
"""Verdicts by how much they matter to whoever asks; the first one that occurs gives the answer its colour."""


class Answer(NamedTuple):
    """An answer as a page shows it."""

    word: str
    """The answer in a word or two."""
    sentence: str
    """The answer with its numbers."""
    verdict: Verdict
    """The verdict whose colour it has."""


def count_close(findings: Iterable[Finding]) -> int:
    """Count the inconclusive images of which near-identical images were generated: a reader has to look at these."""
    return sum(
        finding.verdict is Verdict.INCONCLUSIVE
        and any(one.near_identical for one in finding.replication if one.rung in DECIDING_RUNGS)
        for finding in findings
    )


def answer_question(summary: Summary, close: int = 0) -> Answer:
    """Return whether the model can reproduce the images, from the verdicts on them.

    Files that a stopped audit never reached count as not measured.

    close:  inconclusive images of which near-identical images were generated
    """
    counts = dict(summary.counts)
    counts[Verdict.SKIPPED] = counts.get(Verdict.SKIPPED, 0) + summary.targets - sum(counts.values())
    colour = next((one for one in _ORDER if counts.get(one)), Verdict.SKIPPED)
    returned = sum(counts.get(one, 0) for one in REPRODUCED)
    rest = [part for part in _count_rest(counts, close) if part]
    if returned:
        word = "Yes"
        said = f"the model reproduces {returned:,} of {_images(summary.targets)}{_how(counts, returned)}"
    elif counts.get(Verdict.NOT_REPRODUCED) == summary.targets:
        word, rest, many = "Not within this budget", [], f"the model reproduced none of {summary.targets:,} images"
        said = "the model did not reproduce the image" if summary.targets == 1 else many
    elif counts[Verdict.SKIPPED] == summary.targets:
        word, rest, many = "No answer", [], f"none of {summary.targets:,} files was measured"
        said = "the file was not measured" if summary.targets == 1 else many
    else:
        word = "Not shown"
        said = f"none of {_images(summary.targets)} counts as reproduced"
    if scored := summary.scored_only:
        rest.append(f"{scored:,} {'was' if scored == 1 else 'were'} scored only, and nothing was generated for them")
    return Answer(word, f"{'; '.join([said, *rest])}.", colour)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _how(counts: dict[Verdict, int], returned: int) -> str:
    """Say how many are returned in words: the line that matters most to a reader."""
    asked = counts.get(Verdict.REPLICATED, 0)
    if not asked:
        return ", but none as a whole from a text alone"
    words = "when asked in words alone, without being given any part of the image"
    if asked == returned:
        return f" {words}"
    return f", {asked:,} of them {words}"


def _count_rest(counts: dict[Verdict, int], close: int) -> Iterator[str]:
    though = f", though near-identical images were generated for {close:,} of them" if close else ""
    if counts.get(Verdict.INCONCLUSIVE) == 1:
        though = ", though near-identical images were generated for it" if close else ""
    for verdict, one, several in (
        (Verdict.NOT_REPRODUCED, "1 was not reproduced within this budget", "were not reproduced within this budget"),
        (
            Verdict.ATYPICAL,
            "1 stands out from the controls without a copy",
            "stand out from the controls without a copy",
        ),
        (Verdict.INCONCLUSIVE, f"1 is inconclusive{though}", f"are inconclusive{though}"),
        (Verdict.SKIPPED, "1 was not measured", "were not measured"),
    ):
        count = counts.get(verdict, 0)
        yield one if count == 1 else f"{count:,} {several}" if count else ""
