"""What verdicts mean, in words for people who decide about rights and not about tensors."""

from collections.abc import Sequence
from typing import NamedTuple

from imgaudit.report.review import ReviewChoice
from imgaudit.schema.comparison import Change
from imgaudit.schema.findings import (
    AlarmCode,
    AlarmEffect,
    Finding,
    InvMMFinding,
    PartReplication,
    Replication,
    StreamRate,
    Verdict,
)
from imgaudit.schema.records import REPORTED_RUNGS, Rung, Skipped


class Wording(NamedTuple):
    """How a verdict is presented."""

    label: str
    """Headline."""
    meaning: str
    """What it says."""
    limit: str
    """What it does not say; printed wherever the verdict stands."""


WORDING: dict[Verdict, Wording] = {
    Verdict.REPLICATED: Wording(
        Verdict.REPLICATED.label,
        "The model returns a copy of this image when asked in words. Nothing of the image was given to it.",
        "The rate holds for the text, the sampler and the settings named below, and for no others.",
    ),
    Verdict.REPLICATED_BY_INVERSION: Wording(
        Verdict.REPLICATED_BY_INVERSION.label,
        "The model returns a copy of this image under a prompt or an embedding that was searched with the image in "
        "hand, and does so far more readily than for the control images.",
        "Such a prompt or embedding carries information taken from the image. What separates this from forcing is the "
        "comparison with controls at the same budget; it does not show that an ordinary prompt would do it.",
    ),
    Verdict.PARTIAL: Wording(
        Verdict.PARTIAL.label,
        "The model returns images that contain a part of this one, or all of it moved, turned or recoloured, beyond "
        "what the control images give.",
        "Nothing is said of the rest of the image. Pictures of one series, or with the same frame or logo, share parts "
        "without being copies of each other: look at which part it is.",
    ),
    Verdict.ATYPICAL: Wording(
        Verdict.ATYPICAL.label,
        "The model predicts this image better than images it has not been trained on, but no copy was generated.",
        "This is not evidence of a copy. It says that the image differs from the controls, which has other causes too.",
    ),
    Verdict.NOT_REPRODUCED: Wording(
        Verdict.NOT_REPRODUCED.label,
        "Within the stated budget no copy was found beyond what the controls give.",
        "This is not a statement that the image is absent from the training set, or that nothing else reproduces it.",
    ),
    Verdict.INCONCLUSIVE: Wording(
        Verdict.INCONCLUSIVE.label,
        "The evidence does not allow a conclusion.",
        "Nothing follows from this, in either direction.",
    ),
    Verdict.SKIPPED: Wording(
        Verdict.SKIPPED.label,
        "This file was not audited.",
        "It must not be read as a clean result.",
    ),
}

CHANGE_WORDING: dict[Change, Wording] = {
    Change.APPEARED: Wording(
        "Appeared in B",
        "Run A did not reproduce this image within its budget; run B reproduces it.",
        "This does not show when the image entered a model, or that A cannot reproduce it with another budget.",
    ),
    Change.DISAPPEARED: Wording(
        "No longer reproduced in B",
        "Run A reproduces this image; run B did not within its budget.",
        "This holds for B's budget only. It does not show that the image has been removed from the model, or that "
        "nothing else brings it back.",
    ),
    Change.LOWER_RUNG: Wording(
        "Easier in B",
        "Both runs reproduce this image; B needs less help for it.",
        "Only the rungs that were tried are compared.",
    ),
    Change.HIGHER_RUNG: Wording(
        "Harder in B",
        "Both runs reproduce this image; B needs more help for it.",
        "It is still reproduced. That the easier way failed holds for B's budget only.",
    ),
    Change.OTHER_VERDICT: Wording(
        "Another verdict",
        "The verdicts differ, though both runs reproduce the image, or neither does.",
        "A verdict can change by chance near its threshold.",
    ),
    Change.RATE_CHANGED: Wording(
        "Rate changed",
        "Same verdict and same rung, but copies come more often or less often than chance explains.",
        "The rates hold for the texts, the sampler and the settings of these runs, and for no others.",
    ),
    Change.UNCHANGED: Wording(
        "No change shown",
        "Same verdict, same rung, and no difference of rates that chance does not explain.",
        "A difference within the interval is not excluded, and an image that is not reproduced in both is so within "
        "the budget only.",
    ),
    Change.NOT_COMPARABLE: Wording(
        "Cannot be compared",
        "At least one run says nothing about this image, or not the same thing as the other.",
        "Nothing about a change follows from this. It must be read neither as unchanged nor as no longer reproduced.",
    ),
}

RUNG_WORDING: dict[Rung, str] = {
    Rung.PROMPT: "a prompt given by the owner",
    Rung.CAPTION: "the image's own caption",
    Rung.PARAPHRASE: "other wordings of its text",
    Rung.TOKENS: "a prompt of a few words, searched with the image in hand",
    Rung.EMBEDDING: "an embedding optimised towards the image",
    Rung.EMBEDDING_NOISE: "an embedding and initial noise, both optimised towards the image: reported only",
}


CHOICE_WORDING: dict[ReviewChoice, str] = {
    ReviewChoice.ACCEPT: "accepts the verdict",
    ReviewChoice.DISPUTE: "disputes the verdict",
    ReviewChoice.UNSURE: "is unsure",
}

LEVEL_WORDING: tuple[str, ...] = (
    "nothing of it",
    "a faint likeness",
    "some of its content",
    "much of its content, with clear differences",
    "nearly all, with slight differences",
    "all of it",
)
"""The levels 0 to 5 in words; D-Rep fixes the ends of its scale, 0 for no replication and 5 for total."""


class AlarmWording(NamedTuple):
    """How an alarm is presented."""

    label: str
    """In a few words."""
    meaning: str
    """What it means for the reader."""


ALARM_WORDING: dict[AlarmCode, AlarmWording] = {
    AlarmCode.BLIND_BASELINE: AlarmWording(
        "Targets and controls differ without the model",
        "A classifier that never saw the model tells them apart by colour, contrast, detail and shape. Their scores "
        "may differ for that reason alone: choose controls more like the targets.",
    ),
    AlarmCode.BLIND_CAPTIONS: AlarmWording(
        "Captions are written differently",
        "Targets' and controls' captions can be told apart by how they are written, so what they bring out is not "
        "comparable: caption both in the same way.",
    ),
    AlarmCode.TRAINED_CONTROLS: AlarmWording(
        "Some controls look trained on",
        "Their scores have a second, higher mode, and those in it come back. Leaving them out would make other "
        "p-values too small: ask where they come from.",
    ),
    AlarmCode.TOO_FEW_CONTROLS: AlarmWording(
        "Too few controls",
        "The smallest p-value that so many controls allow is above the level: nothing could be found.",
    ),
    AlarmCode.NEAR_DUPLICATES: AlarmWording(
        "Near-duplicates among the targets",
        "They are one work and count once; one of them stands for all.",
    ),
    AlarmCode.NEAR_CONTROLS: AlarmWording(
        "A control is a near copy",
        "A control that shows the same picture cannot be one: it was left out.",
    ),
    AlarmCode.MADE_BY_A_MODEL: AlarmWording(
        "The image seems to have been generated",
        "An image that a model made is easy for models, whether or not they were trained on it.",
    ),
    AlarmCode.NO_NULL_BRANCH: AlarmWording(
        "No null condition",
        "The model cannot be asked without a text, so that there is nothing to compare its error with.",
    ),
    AlarmCode.AUTOENCODER: AlarmWording(
        "The model's autoencoder distorts the image",
        "What the model cannot render it cannot return closely either, and its error means less.",
    ),
    AlarmCode.CUT_CAPTION: AlarmWording(
        "Part of the caption never reached the model",
        "The text encoder reads only so many tokens; what stands behind them changed nothing.",
    ),
    AlarmCode.INVALID_FRAMES: AlarmWording(
        "Some generated images could not be scored",
        "They are black, constant or not finite, and are left out of every rate.",
    ),
    AlarmCode.FORCED_CONTROLS: AlarmWording(
        "Controls come out as well",
        "The rule calls more of the controls outside the bank reproduced than the level allows: at this budget images "
        "can be forced out of the model.",
    ),
}
"""What an alarm is, in a few words, and what it means for the reader."""

EFFECT_WORDING: dict[AlarmEffect, str] = {
    AlarmEffect.TAKES_P_VALUES: "Error-based p-values are not to be had; a copy from a prompt stands.",
    AlarmEffect.WEAKENS_NEGATIVES: "What is significant stands; what is not is inconclusive.",
    AlarmEffect.WARNS: "No number is taken away by it.",
}

KEYS: tuple[tuple[str, str], ...] = (
    ("j k", "next and previous image (also the arrow keys); among all images, row by row: Enter opens"),
    ("i", "all images"),
    ("n p", "next and previous generated image; among all images, page"),
    ("s l b f", "side by side, slider, blink, difference"),
    ("z", "next zoom"),
    ("a d u", "accept, dispute, unsure"),
    ("0 1 2 3 4 5", "level of replication"),
    ("c", "comment"),
    ("/", "search"),
    ("?", "this list"),
)
"""Keys of the pages, with what they do."""

P_VALUE_SENTENCE = (
    "If this image were exchangeable with the controls, a score this high would occur with probability at most {p}."
)

INVMM_MEANING = (
    "How far the initial noise has to be moved towards the image before the model returns it in every one of a few "
    "samples: the lower, the more memorised, and 0 where plain noise suffices."
)

INVMM_LIMIT = (
    "Noise and condition were both learned with the image in hand and can carry it, so this is no evidence that an "
    "ordinary prompt would return it, and no verdict rests on it. Only the comparison with controls that were given "
    "the same budget says anything: p is the share of controls, this image counted, that needed no more. It is of this "
    "image alone and not corrected over the folder. Where the search did not succeed, that holds for its budget only."
)
"""Printed wherever InvMM's divergence stands."""

CONDITION_WORDING = {"mixture": "a mixture of the model's words", "embedding": "a free embedding"}

STREAMS_LIMIT = (
    "These seeds were chosen because they gave copies with all streams, so the intervals describe this embedding on "
    "them and are not rates of the model. Streams act together: one that gives no copy alone may still be needed."
)
"""What a comparison of streams does not say; printed wherever it stands."""


def stream_label(rate: StreamRate, streams: Sequence[str]) -> str:
    """A condition by what it keeps or leaves out of all `streams`.

    >>> rate = StreamRate(streams=("t5", "pooled"), n=8, hits=0, low=0.0, high=0.369, log_ratio=0.1)
    >>> stream_label(rate, ["clip", "t5", "pooled"])
    'without clip'
    """
    if len(rate.streams) in (0, len(streams)):
        return "all streams" if rate.streams else "no stream"
    if len(rate.streams) == 1:
        return f"{rate.streams[0]} alone"
    return "without " + ", ".join(name for name in streams if name not in rate.streams)


def stream_text(rates: Sequence[StreamRate]) -> str:
    """Copies of seeds per condition in one line, with their 95 % intervals."""
    return ", ".join(
        f"{stream_label(rate, rates[0].streams)} {rate.hits} of {rate.n} ({rate.low:.0%} to {rate.high:.0%})"
        for rate in rates[1:]
    )


def standing(replication: Replication) -> str:
    """Whether a rung reproduces the image, in a word or two."""
    if replication.rung in REPORTED_RUNGS:
        return "reported only"
    return "yes" if replication.whole_stands else "in part" if replication.stands else "no"


def invmm_text(found: InvMMFinding) -> str:
    """InvMM's measurement in one line, for tables and terminals."""
    if isinstance(found.kl_per_dimension, Skipped):
        measured = "no score: " + found.kl_per_dimension.skipped
    else:
        measured = f"{found.kl_per_dimension:.4f} nats per dimension after {found.steps} steps"
    p_value = "" if isinstance(found.p_value, Skipped) else f"; p = {found.p_value:.3g}"
    return f"{measured} (under {CONDITION_WORDING[found.condition]}{p_value})"


def part_of(finding: Finding) -> Replication | None:
    """The lowest rung that returns a part of the image beyond what controls give, if one does."""
    return next((replication for replication in finding.replication if replication.part_stands), None)


def part_text(finding: Finding) -> str:
    """How often a part came back, in one line; empty where none did beyond what controls give."""
    replication = part_of(finding)
    if replication is None or not isinstance(part := replication.part, PartReplication):
        return ""
    return f"a part from {replication.rung.value} {part.hits}/{part.n} ({part.low:.1%} to {part.high:.1%})"
