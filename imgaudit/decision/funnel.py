"""The funnel: images with ordinary scores are not asked further, and the same rule is applied to the controls.

Every image is scored, and under its caption too where it has one. It is asked in all ways (texts, an embedding,
generated images) only where a score is above a bound that is placed before any target is seen. For an image without a
caption:

    bound = the k-th highest score of the m controls that are kept out of the bank,  k = share (m + 1) rounded down

An image with a caption has two scores, each with a bound placed in this way at half the share, and either is enough.
So of images like the controls a share of at most `share` is asked, on average over banks. The controls that count were
asked in all ways, and those at or below the bounds are treated as if they had not been: what only asking shows counts
as lowest. Image and controls go through one and the same rule, which depends on nothing but their own measurements and
on controls that do not count, so that p-values stay valid: P(p <= a) is at most a for an image exchangeable with the
controls.

What is lost is what neither score shows: `imgaudit benchmark funnel` prints how much.
"""

from dataclasses import dataclass
from itertools import count as count_from
from math import ceil, isfinite
from typing import Protocol as Interface

from imgaudit.decision.null_bank import NullBank, count_bank_controls, fit_complexity
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Skipped
from imgaudit.statistics import LinearFit, exceedance_threshold


class ScoredTwice(Interface):
    """A control, a target or whatever else has a score, and perhaps one under its caption."""

    @property
    def complexity(self) -> float:
        """Detail of the image: log(PNG bytes per pixel)."""

    @property
    def log_ratio(self) -> float | Skipped:
        """Score before the effect of complexity is removed; higher = more memorised."""

    @property
    def caption_log_ratio(self) -> float | Skipped | None:
        """The same under the image's caption; None or Skipped without one."""


@dataclass(frozen=True)
class ImageScores:
    """The scores of an image that has no record yet."""

    complexity: float
    """Detail of the image: log(PNG bytes per pixel)."""
    log_ratio: float
    """Score before the effect of complexity is removed; higher = more memorised."""
    caption_log_ratio: float | None = None
    """The same under the image's caption; None without one."""


@dataclass(frozen=True)
class Funnel:
    """Bounds that are placed."""

    share: float
    """Share of images like the controls that are asked in all ways."""
    line: LinearFit
    """What complexity explains of the score."""
    bound: float
    """Images without a caption are asked in all ways if their score is above this."""
    caption_line: LinearFit
    """What complexity explains of the score under the caption."""
    caption_bounds: tuple[float, float] | None
    """Images with a caption are if their score is above the first, or their score under the caption above the second.
    None where too few controls have captions to place these: then all such images are asked in all ways."""

    def asks(self, image: ScoredTwice, *, captioned: bool | None = None) -> bool:
        """Say whether an image is asked in all ways; one without a score is.

        captioned:  whether the rule for images with a caption holds; by default it does where the image has a score
                    under one. Controls are judged by the rule of the target that they are compared with.
        """
        if isinstance(image.log_ratio, Skipped):
            return True
        score, caption = self.line.residual(image.log_ratio, image.complexity), image.caption_log_ratio
        has_caption = not isinstance(caption, Skipped | None)
        if not (has_caption if captioned is None else captioned):
            return score > self.bound
        if self.caption_bounds is None or score > self.caption_bounds[0]:
            return True
        if isinstance(caption, Skipped | None):
            return False
        return self.caption_line.residual(caption, image.complexity) > self.caption_bounds[1]


def place_funnel(bank: NullBank | None, protocol: Protocol) -> Funnel | None:
    """Place the bounds of a protocol's funnel; None without a funnel, or with too few controls kept out to place one.

    Scores are those less what complexity explains, whatever a policy makes of them later.
    """
    if bank is None or protocol.funnel is None:
        return None
    share, scores = protocol.funnel.share, [bank.score(control) for control in bank.kept_out]
    known = [score for score in scores if not isinstance(score, Skipped)]
    bound = exceedance_threshold(known, share)
    if len(known) < len(scores) or not isfinite(bound):
        return None
    pairs = tuple((one.complexity, one.caption_log_ratio) for one in bank.kept_out if one.caption_log_ratio is not None)
    caption_line = fit_complexity(pairs)
    captions = [caption_line.residual(ratio, complexity) for complexity, ratio in pairs]
    bounds = exceedance_threshold(known, share / 2), exceedance_threshold(captions, share / 2)
    placed = bounds if all(map(isfinite, bounds)) else None
    return Funnel(share, bank.line, bound, caption_line, placed)


def describe_left_out(funnel: Funnel, *, captioned: bool) -> str:
    """Return the reason why an image is not asked in all ways."""
    which = "neither its score nor its score under its caption is" if captioned else "its score is not"
    return (
        f"{which} among the highest {100 * funnel.share:g} % of what images like the controls get, so it was scored "
        "only. That rules out no rate of copies"
    )


def describe_unplaced(bank: NullBank | None, protocol: Protocol) -> str:
    """Say why a protocol's funnel is not used, or not for images with captions; empty where it is used for all."""
    if protocol.funnel is None:
        return ""
    if bank is None:
        return "the funnel was not used, because there are no controls: every image is asked in all ways"
    share, funnel = protocol.funnel.share, place_funnel(bank, protocol)
    if funnel is None:
        return (
            f"the funnel was not used, because it takes {count_needed(share)} controls with a score to place a bound "
            f"for the highest {100 * share:g} %, and there are {bank.works}: every image is asked in all ways"
        )
    if funnel.caption_bounds is None:
        return (
            f"the funnel is not used for images with a caption, because that takes {count_needed(share / 2)} controls "
            "with a caption and a score under it: these images are asked in all ways"
        )
    return ""


def count_needed(share: float) -> int:
    """Return how many controls have to be given to place a bound for a share of images.

    >>> count_needed(0.05), count_needed(0.025)
    (98, 156)
    """
    kept_out = ceil(1 / share - 1e-9) - 1
    return next(count for count in count_from(1) if count - count_bank_controls(count) >= kept_out)
