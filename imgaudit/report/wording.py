"""What verdicts mean, in words for people who decide about rights and not about tensors."""

from typing import NamedTuple

from imgaudit.findings import Verdict
from imgaudit.records import Rung


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
        "Replicated from text",
        "The model returns a copy of this image when asked in words. Nothing of the image was given to it.",
        "The rate holds for the text, the sampler and the settings named below, and for no others.",
    ),
    Verdict.REPLICATED_BY_INVERSION: Wording(
        "Replicated by inversion",
        "The model returns a copy of this image under a prompt or an embedding that was searched with the image in "
        "hand, and does so far more readily than for the control images.",
        "Such a prompt or embedding carries information taken from the image. What separates this from forcing is the "
        "comparison with controls at the same budget; it does not show that an ordinary prompt would do it.",
    ),
    Verdict.PARTIAL: Wording(
        "Partly replicated",
        "A part of this image is returned.",
        "The rest of the image is not part of this finding.",
    ),
    Verdict.ATYPICAL: Wording(
        "Unlike the controls",
        "The model predicts this image better than images it has not been trained on, but no copy was generated.",
        "This is not evidence of a copy. It says that the image differs from the controls, which has other causes too.",
    ),
    Verdict.NOT_REPRODUCED: Wording(
        "Not reproduced",
        "Within the stated budget no copy was found beyond what the controls give.",
        "This is not a statement that the image is absent from the training set, or that nothing else reproduces it.",
    ),
    Verdict.INCONCLUSIVE: Wording(
        "Inconclusive",
        "The evidence does not allow a conclusion.",
        "Nothing follows from this, in either direction.",
    ),
    Verdict.SKIPPED: Wording(
        "Not measured",
        "This file was not audited.",
        "It must not be read as a clean result.",
    ),
}

RUNG_WORDING: dict[Rung, str] = {
    Rung.PROMPT: "a prompt given by the owner",
    Rung.CAPTION: "the image's own caption",
    Rung.PARAPHRASE: "other wordings of its text",
    Rung.TOKENS: "a prompt of a few words, searched with the image in hand",
    Rung.EMBEDDING: "an embedding optimised towards the image",
}

P_VALUE_SENTENCE = (
    "If this image were exchangeable with the controls, a score this high would occur with probability at most {p}."
)
