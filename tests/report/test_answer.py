"""The answer follows from the verdicts, in a sentence that can be read on its own."""

from typing import Any

import pytest

from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.report.answer import answer_question, count_close
from imgaudit.schema.findings import Summary, Verdict
from imgaudit.schema.records import Skipped
from tests.support.records import PROTOCOL, measurement


def summary(targets: int, **counts: int) -> Summary:
    nothing = Skipped(skipped="no controls")
    every: dict[Verdict, int] = dict.fromkeys(Verdict, 0) | {Verdict(name): count for name, count in counts.items()}
    values: dict[str, Any] = {
        "targets": targets, "counts": every, "controls": 0, "level": 0.05, "planner": "", "false_positive": nothing,
        "forcing": nothing, "hypotheses": targets, "alarms": [], "seconds": 1.0, "network_evaluations": 1,
    }  # fmt: skip
    return Summary.model_validate(values)


@pytest.mark.parametrize(
    ("counts", "word", "sentence", "verdict"),
    [
        ({"replicated": 10, "not_reproduced": 14}, "Yes",
         "the model reproduces 10 of 24 images when asked in words alone, without being given any part of the image; "
         "14 were not reproduced within this budget.", Verdict.REPLICATED),
        ({"replicated": 1, "replicated_by_inversion": 1, "inconclusive": 1}, "Yes",
         "the model reproduces 2 of 3 images, 1 of them when asked in words alone, without being given any part of the "
         "image; 1 is inconclusive.", Verdict.REPLICATED),
        ({"partial": 1}, "Yes", "the model reproduces 1 of 1 image, but none as a whole from a text alone.",
         Verdict.PARTIAL),
        ({"not_reproduced": 3}, "Not within this budget", "the model reproduced none of 3 images.",
         Verdict.NOT_REPRODUCED),
        ({"not_reproduced": 1}, "Not within this budget", "the model did not reproduce the image.",
         Verdict.NOT_REPRODUCED),
        ({"not_reproduced": 2, "skipped": 1}, "Not shown",
         "none of 3 images counts as reproduced; 2 were not reproduced within this budget; 1 was not measured.",
         Verdict.SKIPPED),
        ({"atypical": 2, "not_reproduced": 1}, "Not shown",
         "none of 3 images counts as reproduced; 1 was not reproduced within this budget; 2 stand out from the "
         "controls without a copy.", Verdict.ATYPICAL),
        ({"inconclusive": 200}, "Not shown", "none of 200 images counts as reproduced; 200 are inconclusive.",
         Verdict.INCONCLUSIVE),
        ({"skipped": 2}, "No answer", "none of 2 files was measured.", Verdict.SKIPPED),
    ],
)  # fmt: skip
def test_the_answer_follows_from_the_verdicts(
    counts: dict[str, int], word: str, sentence: str, verdict: Verdict
) -> None:
    assert answer_question(summary(sum(counts.values()), **counts)) == (word, sentence, verdict)


@pytest.mark.parametrize(
    ("inconclusive", "close", "said"),
    [
        (7, 2, "7 are inconclusive, though near-identical images were generated for 2 of them; 1 was not measured."),
        (1, 1, "1 is inconclusive, though near-identical images were generated for it; 1 was not measured."),
        (7, 0, "7 are inconclusive; 1 was not measured."),
    ],
)
def test_near_identical_images_are_named_even_where_nothing_could_be_concluded(
    inconclusive: int, close: int, said: str
) -> None:
    answer = answer_question(summary(inconclusive + 1, inconclusive=inconclusive, skipped=1), close)
    assert answer.word == "Not shown" and answer.sentence.endswith(f"counts as reproduced; {said}")


def test_inconclusive_images_are_counted_where_near_identical_ones_were_generated() -> None:
    near = [measurement(name, 2.0, [(0.99, 0.05)] * 2) for name in "ab"]
    far = measurement("c", 2.0, [(0.4, 0.4)] * 2)
    assert count_close(decide([*near, far], Evidence(None, PROTOCOL))) == 2


def test_files_that_were_never_reached_were_not_measured() -> None:
    answer = answer_question(summary(50, not_reproduced=7))
    assert answer.verdict is Verdict.SKIPPED and "43 were not measured" in answer.sentence
