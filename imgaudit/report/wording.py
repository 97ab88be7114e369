"""What verdicts mean, in words for people who decide about rights and not about tensors."""

from collections.abc import Sequence
from typing import NamedTuple

from imgaudit.decision.controls_needed import describe_controls_used, describe_works
from imgaudit.report.review import ReviewChoice
from imgaudit.schema.comparison import Change
from imgaudit.schema.error_checks import ForcingCheck
from imgaudit.schema.findings import AuditResult, Finding, InvMMFinding, Summary, Verdict
from imgaudit.schema.records import REPORTED_RUNGS, Rung, Skipped
from imgaudit.schema.replication import PartReplication, Replication, StreamRate


class Wording(NamedTuple):
    """Presentation of a verdict."""

    label: str
    """Headline."""
    meaning: str
    """Meaning of the verdict."""
    limit: str
    """Limits of the verdict; printed wherever it stands."""


SCORED_ONLY = (
    "The image was scored, and its score, or the short one that comes first, is ordinary. Nothing was generated for "
    "it, so this does not say how often the model would return it."
)
"""Meaning of a verdict on an image that a funnel kept from being asked."""

WORDING: dict[Verdict, Wording] = {
    Verdict.REPLICATED: Wording(
        Verdict.REPLICATED.label,
        "The model returns a copy of this image when it is asked in words alone. It was given no part of the image.",
        "The rate holds for the text, the sampler and the settings named below, and for no others.",
    ),
    Verdict.REPLICATED_BY_INVERSION: Wording(
        Verdict.REPLICATED_BY_INVERSION.label,
        "The model returns a copy of this image from a prompt, or from an embedding (numbers in place of a prompt), "
        "that was found by a search which used the image itself. It does so more readily than for the control images.",
        "Such a prompt or embedding carries information taken from the image. The controls went through the same "
        "search with the same budget; only the comparison with them tells this result from an image that was forced "
        "out of the model. None of this shows that an ordinary prompt would return the image.",
    ),
    Verdict.PARTIAL: Wording(
        Verdict.PARTIAL.label,
        "The model returns images that contain a part of this image, or all of it shifted, turned or recoloured, "
        "more closely than happens for the control images.",
        "This says nothing about the rest of the image. Pictures of one series, or with the same frame or logo, "
        "share parts without being copies of each other: check which part it is.",
    ),
    Verdict.ATYPICAL: Wording(
        Verdict.ATYPICAL.label,
        "This image stands out from the control images: the model predicts it better, or generates images closer to "
        "it. But no copy was generated beyond what controls give.",
        "This is not evidence of a copy. It says that the image differs from the controls, which can have other "
        "causes.",
    ),
    Verdict.NOT_REPRODUCED: Wording(
        Verdict.NOT_REPRODUCED.label,
        "Within the stated budget no copy was generated, and no generated image is near-identical to this image.",
        "This is not a statement that the image is absent from the training set, or that nothing else reproduces it.",
    ),
    Verdict.INCONCLUSIVE: Wording(
        Verdict.INCONCLUSIVE.label,
        "The evidence does not allow a conclusion: the comparison with controls is missing or weak, or images came "
        "back that are close to this image and yet not beyond what controls give.",
        "This is evidence neither for nor against a copy.",
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
        "This holds for B's budget only. It does not show that the image has been removed from the model, or that no "
        "other prompt returns it.",
    ),
    Change.LOWER_RUNG: Wording(
        "Easier in B",
        "Both runs reproduce this image; B needs less information about it, for example a caption and no search.",
        "Only the ways of asking that were tried are compared.",
    ),
    Change.HIGHER_RUNG: Wording(
        "Harder in B",
        "Both runs reproduce this image; B needs more information about it, for example a search and not only a "
        "caption.",
        "B still reproduces the image. The easier way failed within B's budget only.",
    ),
    Change.OTHER_VERDICT: Wording(
        "Another verdict",
        "The verdicts differ, though both runs reproduce the image, or neither does.",
        "A verdict can change by chance near its threshold.",
    ),
    Change.RATE_CHANGED: Wording(
        "Rate changed",
        "Same verdict and same rung, but the share of copies differs by more than chance explains.",
        "The rates hold for the texts, the sampler and the settings of these runs, and for no others.",
    ),
    Change.UNCHANGED: Wording(
        "No change shown",
        "Same verdict, same rung, and no difference in the share of copies beyond chance.",
        "A difference within the interval remains possible. Where neither run reproduces the image, that holds for "
        "their budgets only.",
    ),
    Change.NOT_COMPARABLE: Wording(
        "Cannot be compared",
        "At least one run has no usable result for this image, or the two results do not answer the same question.",
        "This says nothing about a change. Read it neither as unchanged nor as no longer reproduced.",
    ),
}

RUNG_WORDING: dict[Rung, str] = {
    Rung.PROMPT: "a prompt given by the owner",
    Rung.CAPTION: "the image's own caption",
    Rung.PARAPHRASE: "other wordings of its text",
    Rung.TOKENS: "a prompt of a few words, found by a search that used the image",
    Rung.EMBEDDING: "numbers in place of a prompt, optimised towards the image",
    Rung.EMBEDDING_NOISE: "numbers in place of a prompt and the initial noise, both optimised towards the image: "
    "reported only",
}


CHOICE_WORDING: dict[ReviewChoice, str] = {
    ReviewChoice.ACCEPT: "accepts the verdict",
    ReviewChoice.DISPUTE: "disputes the verdict",
    ReviewChoice.UNSURE: "is unsure",
}

LEVEL_WORDING: tuple[str, ...] = (
    "none of it",
    "a faint resemblance",
    "some of its content",
    "much of its content, with clear differences",
    "nearly all, with slight differences",
    "all of it",
)
"""The levels 0 to 5 in words; D-Rep fixes the ends of its scale, 0 for no replication and 5 for total."""


CORRECTION_WORDING = {
    "benjamini_hochberg": "corrected by the method of Benjamini and Hochberg",
    "benjamini_yekutieli": "corrected by the method of Benjamini and Yekutieli",
}
"""Name of every correction for the number of images, in words."""

KEYS: tuple[tuple[str, str], ...] = (
    (
        "j k",
        "next and previous image (also the arrow keys); in the list of all images, next and previous row: Enter opens",
    ),
    ("i", "all images"),
    ("n p", "next and previous generated image; in the list of all images, next and previous page"),
    ("s l b f", "side by side, slider, blink, difference"),
    ("z", "next zoom"),
    ("a d u", "accept, dispute, unsure"),
    ("0 1 2 3 4 5", "how much of the image was returned (0 to 5)"),
    ("c", "comment"),
    ("/", "search"),
    ("?", "this list"),
)
"""Keys of the pages, with what they do."""

P_VALUE_SENTENCE = (
    "Scores, generated images and parts together place this image among the controls. If it were like any of them (in "
    "statistical terms, exchangeable with the controls), a place this high would occur with probability at most {p}."
)

CAPTION_SENTENCE = (
    "The model was asked to predict this image with its caption and without it, and the same was done with {controls} "
    "controls, each with its own caption: if this image were like any of them, it would gain so much from its caption "
    "with probability at most {p}."
)

CAPTION_LIMIT = (
    "A small probability suggests that the model was trained on this image together with such a text. It does not show "
    "that the model returns the image, and no verdict rests on it alone. It counts only if the captions of this image "
    "and of the controls were written in the same way: a more exact caption helps with any image. Of several captions, "
    "only the first was used."
)
"""Printed wherever the score under the caption stands."""

DESCRIPTOR_FOUND = 16, 23, 31
"""Memorised layouts of the lab `report-128` that an audit called partly replicated by pixels alone, by pixels or the
copy descriptor, and of how many, as `imgaudit benchmark legs` prints."""

DESCRIPTOR_LACKED = (
    "On a test model that had memorised {2} layouts (a frame or background with changing content), an audit by pixels "
    "called {0} of them partly replicated, and one that also used a copy descriptor called {1}."
).format(*DESCRIPTOR_FOUND)
"""Printed where no copy descriptor was on the machine, although the model's images are large enough for one."""

PART_NOT_TESTED = (
    "The copy descriptor told this copy, and it does not say which part of the image it is. What is shown is where the "
    "two agree most. This agreement was not found to be more than the controls give."
)
"""Printed beside an area that only the copy descriptor speaks for."""

INVMM_MEANING = (
    "How far the initial noise has to be moved towards the image before the model returns the image in every one of "
    "a few samples. Lower means that less has to be moved; 0 means that ordinary noise is enough."
)

INVMM_LIMIT = (
    "Noise and condition were both learned from the image and can carry it. So this is no evidence that an ordinary "
    "prompt would return the image, and no verdict rests on it. Only the comparison with controls that were given "
    "the same budget is informative: p is the share of controls, counting this image, that needed no more. It is for "
    "this image alone and is not corrected over the portfolio. A search that failed has failed within its budget "
    "only."
)
"""Printed wherever InvMM's divergence stands."""

CONDITION_WORDING = {"mixture": "a mixture of the model's words", "embedding": "a free embedding"}

STREAMS_LIMIT = (
    "These seeds were chosen because they gave copies with all streams, so the intervals describe this embedding on "
    "these seeds and are not rates of the model. Streams act together: a stream that gives no copy alone may still "
    "be needed."
)
"""Limits of a comparison of streams; printed wherever one stands."""


def stream_label(rate: StreamRate, streams: Sequence[str]) -> str:
    """Name a condition by the streams that it keeps or leaves out.

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
    """Return copies per condition in one line, with their 95 % intervals."""
    return ", ".join(
        f"{stream_label(rate, rates[0].streams)} {rate.hits} of {rate.n} ({rate.low:.0%} to {rate.high:.0%})"
        for rate in rates[1:]
    )


def standing(replication: Replication) -> str:
    """Say in a word or two whether a rung reproduces the image."""
    if replication.rung in REPORTED_RUNGS:
        return "reported only"
    return "yes" if replication.whole_stands else "in part" if replication.stands else "no"


def invmm_text(found: InvMMFinding) -> str:
    """Return InvMM's measurement in one line, for tables and terminals."""
    if isinstance(found.kl_per_dimension, Skipped):
        measured = "no score: " + found.kl_per_dimension.skipped
    else:
        measured = f"{found.kl_per_dimension:.4f} nats per dimension after {found.steps} steps"
    p_value = "" if isinstance(found.p_value, Skipped) else f"; p = {found.p_value:.3g}"
    return f"{measured} (under {CONDITION_WORDING[found.condition]}{p_value})"


def caption_text(finding: Finding) -> str:
    """Explain the score under the caption in a sentence; empty where it was not measured, or there is no caption."""
    found = finding.caption_score
    if found is None or isinstance(found, Skipped):
        return ""
    if isinstance(found.p_value, Skipped):
        return f"Under its own caption, the image's score is not compared with the controls': {found.p_value.skipped}."
    return CAPTION_SENTENCE.format(controls=found.controls, p=f"{found.p_value:.3g}")


def part_of(finding: Finding) -> Replication | None:
    """Return the lowest rung that returns a part of the image beyond what controls give, if one does."""
    return next((replication for replication in finding.replication if replication.part_stands), None)


def part_text(finding: Finding) -> str:
    """Return in one line how often a part was returned; empty where no rung did so beyond the controls."""
    replication = part_of(finding)
    if replication is None or not isinstance(part := replication.part, PartReplication):
        return ""
    return f"a part from {replication.rung.value} {part.hits}/{part.n} ({part.low:.1%} to {part.high:.1%})"


def controls_text(summary: Summary) -> str:
    """Say in one line how many control files and works there are, how many count and what the others do."""
    files, works, count = summary.control_files, summary.control_works, summary.controls
    if not count and not files:
        return ""
    if files is None or works is None:
        return f"{count} controls count in p-values and thresholds"
    parts = [f"{count} {'counts' if count == 1 else 'count'} in p-values and thresholds"]
    checking = summary.forcing.n if isinstance(summary.forcing, ForcingCheck) else 0
    if checking:
        parts.append(f"{checking} only check the rule")
    if (left := works - count - checking) > 0:
        parts.append(f"{left} left out, as too like an image that was audited")
    return f"{describe_works(files, works)}; of {'these' if works >= files else 'the works'}, {', '.join(parts)}"


def level_text(level: float) -> str:
    """Say what the level holds, the same wherever it is explained.

    >>> level_text(0.05)
    'at the level of 0.05, at most 5 of 100 findings are expected to be false'
    """
    return f"at the level of {level:g}, at most {100 * level:g} of 100 findings are expected to be false"


def controls_used_text(result: AuditResult) -> str:
    """Return in one line how many images stand out, and whether the controls could have shown one.

    It is derived again from the findings: the sentence in reports of older versions could contradict them.
    """
    return describe_controls_used(result.summary.controls, result.findings, result.summary.level)


def blind_comparison_text(summary: Summary) -> str:
    """Say whether targets and controls were compared without the model, and why; empty where nobody did."""
    if not (compared := summary.blind_comparison):
        return ""
    return (
        "Controls are a fair comparison only if nothing but the model tells them from the targets. So both were also "
        f"compared without the model: {compared.removeprefix('targets and controls without the model: ')}. Where they "
        "differ clearly, an alarm says so."
    )


def false_positive_text(summary: Summary) -> str:
    """Return in one line how often images like the controls get a significant p-value, or why none can."""
    rate = summary.false_positive
    counted = f"{summary.controls} controls that count"
    said = f"false alarms: by these {counted}, an image like them gets p <= {summary.level:g}"
    if isinstance(rate, Skipped):
        return f"{said} at an unknown rate: {rate.skipped}"
    return f"{said} with a probability between {rate.low:.1%} and {rate.high:.1%} (95 % interval)"
