"""What alarms mean, in words, and in which order they stand: the most severe first."""

from collections.abc import Iterable
from typing import NamedTuple

from imgaudit.schema.findings import Alarm, AlarmCode, AlarmEffect
from imgaudit.schema.policy import Policy


class AlarmWording(NamedTuple):
    """Presentation of an alarm."""

    label: str
    """In a few words."""
    meaning: str
    """Meaning of the alarm for the reader."""


ALARM_WORDING: dict[AlarmCode, AlarmWording] = {
    AlarmCode.BLIND_BASELINE: AlarmWording(
        "Targets and controls look different to begin with",
        "A classifier that never saw the model tells them apart by colour, contrast, detail and shape. Their scores "
        "may differ for that reason alone: choose controls more like the targets.",
    ),
    AlarmCode.BLIND_CAPTIONS: AlarmWording(
        "Captions are written differently",
        "The captions of targets and controls can be told apart by how they are written, so neither the images "
        "generated from them nor the scores under them are comparable: caption both in the same way.",
    ),
    AlarmCode.TRAINED_CONTROLS: AlarmWording(
        "Some controls may be in the training set",
        "Some controls form a second group with higher scores, and the model reproduces them. Leaving them out would "
        "make the other p-values too small: find out where they come from.",
    ),
    AlarmCode.TOO_FEW_CONTROLS: AlarmWording(
        "Too few controls",
        "With so few controls a negative result says little.",
    ),
    AlarmCode.MODEL_CHECK: AlarmWording(
        "The model may not work as it is configured",
        "Before the audit, the model did not do with real images what a model that works does. One wrong number in a "
        "configuration file can make a model lose images that it knows: audit the model as it was published.",
    ),
    AlarmCode.NEAR_DUPLICATES: AlarmWording(
        "Images of this folder look alike",
        "Images that look alike, and images of a declared series, are counted as one work; one represents the others. "
        "Whether they show the same work was not examined.",
    ),
    AlarmCode.NEAR_CONTROLS: AlarmWording(
        "A control looks like the image",
        "A control that looks like an audited image may be a copy of it, so it was left out.",
    ),
    AlarmCode.MADE_BY_A_MODEL: AlarmWording(
        "The image seems to have been generated",
        "Models predict generated images well, whether or not they were trained on them.",
    ),
    AlarmCode.NO_NULL_BRANCH: AlarmWording(
        "The model has no prediction without text",
        "The model is distilled: the prediction that the score of other models is compared with was not trained. Its "
        "score, where it has one, is compared with the empty prompt that inversions start from.",
    ),
    AlarmCode.AUTOENCODER: AlarmWording(
        "The model's autoencoder distorts the image",
        "The model cannot return an image more closely than its autoencoder renders it, and its error says less "
        "about memorisation.",
    ),
    AlarmCode.CUT_CAPTION: AlarmWording(
        "Part of a text never reached the model",
        "The text encoder reads a limited number of tokens. The words after them had no effect.",
    ),
    AlarmCode.INVALID_FRAMES: AlarmWording(
        "Some generated images could not be scored",
        "They are black, of a single colour, or contain invalid numbers, and are left out of every rate.",
    ),
    AlarmCode.FORCED_CONTROLS: AlarmWording(
        "Controls are reproduced as well",
        "Among the controls kept out of the bank, the same rule calls more reproduced than the level allows: with "
        "this budget, images can be forced out of the model whether or not it was trained on them.",
    ),
}
"""Name of every alarm in a few words, and its meaning."""

EFFECT_WORDING: dict[AlarmEffect, str] = {
    AlarmEffect.TAKES_P_VALUES: "The comparison with controls is not used. Near-identical images that a prompt or "
    "caption returns still count.",
    AlarmEffect.WEAKENS_NEGATIVES: "Significant results still count; all others are inconclusive.",
    AlarmEffect.WARNS: "No image loses its p-value for this reason.",
}


def describe_effects(policy: Policy) -> dict[AlarmEffect, str]:
    """Return what every effect means under a policy, which may let alarms only warn.

    >>> describe_effects(Policy(alarms="only_warn"))[AlarmEffect.TAKES_P_VALUES]
    'The policy of this run lets alarms only warn: the comparison with controls is used all the same.'
    """
    if policy.alarms != "only_warn":
        return EFFECT_WORDING
    used = "The policy of this run lets alarms only warn: the comparison with controls is used all the same."
    return EFFECT_WORDING | {AlarmEffect.TAKES_P_VALUES: used}


def sort_alarms(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Return alarms with those that take numbers away first, then those that weaken some, then warnings."""
    order = list(AlarmEffect)
    return sorted(alarms, key=lambda alarm: order.index(alarm.effect))
