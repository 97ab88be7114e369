"""Words of the file with their meaning, as docs/concepts/glossary.md has them."""

import re

from imgaudit.report.complaint.blocks import Facts

GLOSSARY: dict[str, str] = {
    "target": "one of the owner's images, which the audit looks for",
    "control": "an image that cannot have been in the training set. It goes through the same procedure as a target, "
    "and shows what happens without training",
    "seed": "the number from which one random initial noise is made. A model gives another image for each seed",
    "embedding": "the numbers into which a model turns a prompt. They can also be searched for directly, without any "
    "prompt",
    "inversion": "the search for an embedding with which the model predicts a given image as well as possible",
    "replica, copy": "a generated image that is closer to its target than the copy thresholds, which come from the "
    "controls",
    "score": "how much better the model predicts an image under a condition that was searched for with the image than "
    "under no text, adjusted for how detailed the image is",
    "coincidence": "how often images generated for other texts come as close to the target: a floor of the p-value of "
    "a text",
    "p": "the share of controls, counting the image, that are at least as strong by scores, generated images and parts "
    "together",
    "q": "p, corrected for the number of images in the folder",
    "level": "the share of false discoveries that the user accepts on average, 5 % by default",
    "finding": "everything that the audit concludes about one image",
    "protocol": "all settings that influence a measurement. Targets and controls must have the same protocol, and its "
    "hash shows that they do",
    "policy": "the rules by which measurements become verdicts, fixed before the audit",
    "network evaluation": "one pass of one sample through the model's network, the unit of cost",
    "fingerprint": "a digest of all weight files and settings of a model. Two models with the same fingerprint are the "
    "same model",
    "digest, hash": "a short number (SHA-256) computed from a file. If the file changes, the number changes",
    "run": "the folder that an audit writes, with its measurements, images, report and evidence",
    "head": "one digest for all evidence of a run",
}
"""Meaning by word."""


def find_words(text: str) -> Facts:
    """Return the words that occur in a text, in any case and in the plural, with their meaning.

    >>> find_words("Two seeds.").rows[0][0]
    'seed'
    """
    return Facts([(word, meaning) for word, meaning in GLOSSARY.items() if _occurs(word, text)])


def _occurs(words: str, text: str) -> bool:
    return any(re.search(rf"\b{re.escape(word)}(e?s)?\b", text, re.IGNORECASE) for word in words.split(", "))
