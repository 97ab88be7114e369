"""The number that decided is on the right side of the level, whatever the verdict."""

import pytest

from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, Rung, Skipped, is_at_most
from tests.support.records import PROTOCOL, bank, measurement, rung

COPY, MISS = (0.99, 0.05), (0.4, 0.4)
LEVEL = Policy().level


def found(*targets: Measurement, controls: int = 199) -> list[Finding]:
    return decide(targets, Evidence(bank(controls) if controls else None, PROTOCOL, Policy()))


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (measurement("caption", 2.0, [MISS] * 8, [COPY] * 8), Verdict.REPLICATED),
        (measurement("embedding", 2.0, [COPY] * 8, [MISS] * 8), Verdict.REPLICATED_BY_INVERSION),
        (measurement("stands out", 2.0, [MISS] * 8), Verdict.ATYPICAL),
    ],
)
def test_a_claim_has_a_number_at_or_below_the_level(target: Measurement, verdict: Verdict) -> None:
    [finding] = found(target)
    decided = find_deciding_number(finding, LEVEL)
    assert finding.verdict is verdict
    assert is_at_most(decided.value, LEVEL) and decided.with_controls


def test_two_texts_count_twice() -> None:
    one = measurement("a", 2.0, [MISS] * 8, [COPY] * 8)
    two = one.model_copy(update={"rungs": one.rungs | {Rung.PROMPT: rung([MISS] * 8, "p")}})
    [finding] = found(two)
    caption = finding.replication[1]
    assert caption.stands and isinstance(caption.p_value, float) and isinstance(finding.q_value, float)
    assert find_deciding_number(finding, LEVEL).value == max(finding.q_value, 2 * caption.p_value)


def test_without_a_claim_it_is_the_image_s_q_value() -> None:
    [finding] = found(measurement("a", 0.1, [MISS] * 8))
    decided = find_deciding_number(finding, LEVEL)
    assert finding.verdict is Verdict.NOT_REPRODUCED
    assert decided.value == finding.q_value and not is_at_most(decided.value, LEVEL)


def test_a_text_that_counts_without_controls_has_its_own_q_value() -> None:
    [finding] = found(measurement("a", 0.1, [MISS] * 8), controls=0)
    assert isinstance(find_deciding_number(finding, LEVEL).value, Skipped)
    caption = found(measurement("a", 2.0, [MISS] * 8, [COPY] * 8))[0].replication[0]
    nothing = Skipped(skipped="no controls")
    returned = caption.model_copy(update={"p_value": nothing, "q_value": 0.01, "stands": True})
    changes = {"verdict": Verdict.REPLICATED, "replication": [returned], "p_value": nothing, "q_value": nothing}
    decided = find_deciding_number(finding.model_copy(update=changes), LEVEL)
    assert decided.value == 0.01 and not decided.with_controls
