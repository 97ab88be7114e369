"""Every alarm has a name, one meaning and an entry in the glossary; the most severe one stands first."""

from imgaudit.report.alarm_wording import ALARM_WORDING, EFFECT_WORDING, describe_effects, sort_alarms
from imgaudit.report.glossary import link_word, read_glossary
from imgaudit.schema.findings import Alarm, AlarmCode, AlarmEffect
from imgaudit.schema.policy import Policy


def test_every_alarm_and_every_effect_is_explained() -> None:
    assert set(ALARM_WORDING) == set(AlarmCode) and set(EFFECT_WORDING) == set(AlarmEffect)


def test_the_glossary_has_every_alarm_by_its_name_and_meaning() -> None:
    glossary = read_glossary()
    assert {wording.label: f"an alarm. {wording.meaning}" for wording in ALARM_WORDING.values()}.items() <= (
        glossary.items()
    )
    assert all(f">{wording.label.partition(chr(39))[0]}" in link_word(wording.label)
               for wording in ALARM_WORDING.values())  # fmt: skip


def test_alarms_that_take_numbers_away_stand_before_warnings() -> None:
    alarms = [Alarm(code=AlarmCode.CUT_CAPTION, effect=effect, message=effect.value)
              for effect in (AlarmEffect.WARNS, AlarmEffect.TAKES_P_VALUES, AlarmEffect.WEAKENS_NEGATIVES)]  # fmt: skip
    assert [alarm.message for alarm in sort_alarms(alarms)] == ["takes_p_values", "weakens_negatives", "warns"]


def test_a_policy_by_which_alarms_only_warn_takes_nothing_away() -> None:
    assert describe_effects(Policy()) == EFFECT_WORDING
    lenient = describe_effects(Policy(alarms="only_warn"))
    changed = {effect for effect in AlarmEffect if lenient[effect] != EFFECT_WORDING[effect]}
    assert changed == {AlarmEffect.TAKES_P_VALUES} and "used all the same" in lenient[AlarmEffect.TAKES_P_VALUES]
