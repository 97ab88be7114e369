from imgaudit.decision.model_alarms import find_model_alarms
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.schema.findings import AlarmCode, AlarmEffect, Verdict
from imgaudit.schema.model_checks import ModelCheck
from imgaudit.schema.policy import Policy
from tests.support.records import PROTOCOL, bank, measurement

GOOD = ModelCheck(name="loss", value=0.2, high=0.8, passed=True, sentence="all well")
BAD = ModelCheck(name="spread", value=0.23, low=0.5, high=2.0, passed=False, sentence="the spread is 0.23")
COPY, MISS = (0.99, 0.05), (0.4, 0.4)


def test_only_a_check_that_failed_raises_the_alarm_and_it_names_the_number() -> None:
    assert find_model_alarms(()) == [] == find_model_alarms((GOOD,))
    [alarm] = find_model_alarms((GOOD, BAD))
    assert (alarm.code, alarm.effect) == (AlarmCode.MODEL_CHECK, AlarmEffect.WEAKENS_NEGATIVES)
    assert "1 of 2 checks" in alarm.message and "the spread is 0.23 (accepted: 0.5 to 2)" in alarm.message
    assert "all well" not in alarm.message


def test_a_model_that_failed_a_check_reproduces_images_but_never_fails_to() -> None:
    images = [measurement("copied", 2.0, [COPY] * 8, [COPY] * 8), measurement("missed", 0.1, [MISS] * 8, [MISS] * 8)]

    def verdicts(checks: tuple[ModelCheck, ...], alarms: str = "take_p_values") -> list[Verdict]:
        policy = Policy.model_validate({"alarms": alarms})
        found = decide(images, Evidence(bank(199), PROTOCOL, policy, model_checks=checks))
        return [finding.verdict for finding in found]

    assert verdicts((GOOD,)) == [Verdict.REPLICATED, Verdict.NOT_REPRODUCED]
    assert verdicts((GOOD, BAD)) == [Verdict.REPLICATED, Verdict.INCONCLUSIVE]
    [missed] = decide(images[1:], Evidence(bank(199), PROTOCOL, Policy(), model_checks=(BAD,)))
    assert "the spread is 0.23" in missed.reason
