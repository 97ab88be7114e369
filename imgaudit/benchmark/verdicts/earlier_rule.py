"""The rule of versions before 0.2, kept to show its power and its errors beside those of the present one.

A score's q-value was the gate: only behind it could an inverted rung stand. Texts were judged by coincidence alone, in
a family of their own.
"""

import numpy as np

from imgaudit.benchmark.verdicts.images import TEXT, Images
from imgaudit.benchmark.verdicts.portfolios import Bank, Judged, judge_inverted
from imgaudit.schema.policy import Policy
from imgaudit.statistics import conformal_p_values


def judge_as_before(images: Images, bank: Bank, policy: Policy, *, captions: bool) -> Judged:
    """Put images to a bank by the earlier rule.

    It takes the form of the present rule: the test is the score's, and a text's copies need no score.
    """
    similarity, distance = bank.thresholds(policy.copy_level)
    scores = conformal_p_values(bank.score(images), bank.score(bank.controls))
    copies = images.count(similarity, distance)[:, TEXT] > 0
    return Judged(
        p_values=np.where(images.taken, 1.0, scores),
        claimed=judge_inverted(images, bank, policy),
        text_p_values=images.coincidence if captions else np.ones(len(images)),
        returned=copies & captions,
    )
