"""The score under an image's own caption, ranked among the controls' under theirs.

No embedding is searched for, so nothing of the image is given to the model. The score is

    mean over draws of log(baseline's error / error under the caption) - what complexity explains

The second term is the line of this log ratio on complexity, fitted on the controls kept out of the bank.
"""

from collections.abc import Sequence
from math import inf
from typing import Protocol as Interface

from imgaudit.decision.controls import Control
from imgaudit.decision.null_bank import Complexity, NullBank, fit_complexity
from imgaudit.schema.records import Skipped
from imgaudit.statistics import LinearFit, conformal_p_value


class Captioned(Interface):
    """A control, a target or whatever else may have a score under its caption."""

    @property
    def complexity(self) -> float:
        """Detail of the image: log(PNG bytes per pixel)."""

    @property
    def caption_log_ratio(self) -> float | None:
        """Score under the image's caption before the effect of complexity is removed; None without one."""


def has_caption_scores(bank: NullBank) -> bool:
    """Say whether at least half of the controls have a score under their caption."""
    count = sum(control.caption_log_ratio is not None for control in bank.controls)
    return count > 0 and 2 * count >= len(bank.controls)


def score_captions(images: Sequence[Captioned], bank: NullBank, complexity: Complexity) -> list[float]:
    """Return the scores of images under their captions, higher = more memorised; -inf for one without."""
    known = [(c.complexity, c.caption_log_ratio) for c in bank.kept_out if c.caption_log_ratio is not None]
    line = LinearFit(0.0, 0.0, 0) if complexity == "none" else fit_complexity(tuple(known))
    return [
        -inf if image.caption_log_ratio is None else line.residual(image.caption_log_ratio, image.complexity)
        for image in images
    ]


def rank_caption(
    image: Control, bank: NullBank, complexity: Complexity, edges: Sequence[float] = ()
) -> tuple[float | Skipped, int]:
    """Return the conformal p-value of an image's score under its caption, and how many controls it is ranked among.

    p = (1 + controls with a score at least as high) / (1 + controls), within the image's bin of complexity where there
    are bins. Skipped where more than half of the controls have no such score.
    """
    if not has_caption_scores(bank):
        reason = "too few of the controls have a score under their own caption, so measure controls that have captions"
        return Skipped(skipped=reason), 0
    controls = [one for one in bank.within_bin(image, edges).controls if one.caption_log_ratio is not None]
    [own, *others] = score_captions([image, *controls], bank, complexity)
    return conformal_p_value(own, others), len(others)
