"""The funnel: images with ordinary scores are not asked further, and the same rule is applied to the controls.

There are up to three stages. Every image gets a first look: a score after a part of its search and on some of its
draws. Where it is high, the search goes on and the score is measured. Where that is high, the image is asked in all
ways (texts, an embedding, generated images). What is high is a bound that is placed before any target is seen. For an
image without a caption:

    bound = the k-th highest value of the m controls that are kept out of the bank,  k = share (m + 1) rounded down

with a share for the first look and one for the score. An image with a caption has two values at either stage, each
with a bound placed in this way at half the share, and either is enough. So of images like the controls a share of at
most `share` is asked, on average over banks. The controls that count were asked in all ways, and those at or below the
bounds are treated as if they had not been: what only a later stage shows counts as lowest. Image and controls go
through one and the same rule, which depends on nothing but their own measurements and on controls that do not count, so
that p-values stay valid: P(p <= a) is at most a for an image exchangeable with the controls.

What is lost is what neither value shows: `imgaudit benchmark funnel` prints how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as count_from
from math import ceil, isfinite
from typing import NamedTuple
from typing import Protocol as Interface

from imgaudit.decision.null_bank import NullBank, count_bank_controls, fit_complexity
from imgaudit.schema.funnel import FirstLookConfig, FunnelConfig
from imgaudit.schema.image_scores import FirstLook
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Skipped
from imgaudit.statistics import LinearFit, exceedance_threshold


class ScoredTwice(Interface):
    """A control, a target or whatever else has a score, and perhaps one under its caption."""

    @property
    def complexity(self) -> float:
        """Detail of the image: log(PNG bytes per pixel)."""

    @property
    def log_ratio(self) -> float | Skipped | None:
        """Score before the effect of complexity is removed; higher = more memorised. None before it is measured."""

    @property
    def caption_log_ratio(self) -> float | Skipped | None:
        """The same under the image's caption; None or Skipped without one."""

    @property
    def first_look(self) -> FirstLook | None:
        """The first look; None where none was taken."""


class Values(NamedTuple):
    """What one stage measured of one image."""

    complexity: float
    """Detail of the image: log(PNG bytes per pixel)."""
    own: float
    """Log ratio of the stage; higher = more memorised."""
    caption: float | None
    """The same under the caption; None without one."""

    @classmethod
    def of_score(cls, image: ScoredTwice) -> "Values | None":
        """Return an image's scores; None where it has none."""
        ratio, caption = image.log_ratio, image.caption_log_ratio
        if isinstance(ratio, Skipped | None):
            return None
        return cls(image.complexity, ratio, None if isinstance(caption, Skipped) else caption)

    @classmethod
    def of_look(cls, image: ScoredTwice) -> "Values | None":
        """Return an image's first look; None where none was taken."""
        look = image.first_look
        return None if look is None else cls(image.complexity, look.log_ratio, look.caption_log_ratio)


@dataclass(frozen=True)
class Bounds:
    """Bounds of one stage."""

    line: LinearFit
    """What complexity explains of the value without a caption."""
    bound: float
    """Images without a caption go on if their value is above this."""
    caption_line: LinearFit
    """What complexity explains of the value under the caption."""
    caption_bounds: tuple[float, float] | None
    """Images with a caption go on if their value is above the first, or their value under the caption above the second.
    None where too few controls have captions to place these: then all such images go on."""

    @classmethod
    def place(cls, values: Sequence[Values], share: float) -> "Bounds | None":
        """Place the bounds by controls that are kept out; None where they are too few."""
        line = fit_complexity(tuple((one.complexity, one.own) for one in values))
        own = [line.residual(one.own, one.complexity) for one in values]
        bound = exceedance_threshold(own, share)
        if not isfinite(bound):
            return None
        pairs = tuple((one.complexity, one.caption) for one in values if one.caption is not None)
        caption_line = fit_complexity(pairs)
        captions = [caption_line.residual(ratio, complexity) for complexity, ratio in pairs]
        both = exceedance_threshold(own, share / 2), exceedance_threshold(captions, share / 2)
        return cls(line, bound, caption_line, both if all(map(isfinite, both)) else None)

    def passes(self, values: Values, *, captioned: bool) -> bool:
        """Say whether an image goes on, by the rule for images with a caption or by that for images without."""
        own = self.line.residual(values.own, values.complexity)
        if not captioned:
            return own > self.bound
        if self.caption_bounds is None or own > self.caption_bounds[0]:
            return True
        if values.caption is None:
            return False
        return self.caption_line.residual(values.caption, values.complexity) > self.caption_bounds[1]


@dataclass(frozen=True)
class Funnel:
    """Bounds that are placed."""

    config: FunnelConfig
    """The shares of images like the controls that go on from either stage."""
    look: Bounds | None
    """Bounds of the first look; None where there is none, or none can be placed: then every image is scored."""
    score: Bounds
    """Bounds of the score."""

    @property
    def first_look(self) -> FirstLookConfig | None:
        """The first look that is taken; None where every image is scored."""
        return self.config.first_look if self.look else None

    def looks_on(self, image: ScoredTwice, *, captioned: bool | None = None) -> bool:
        """Say whether the score of an image is measured after its first look; it is where none was taken.

        captioned:  as of `asks`
        """
        values = Values.of_look(image)
        if self.look is None or values is None:
            return True
        return self.look.passes(values, captioned=values.caption is not None if captioned is None else captioned)

    def asks(self, image: ScoredTwice, *, captioned: bool | None = None) -> bool:
        """Say whether an image is asked in all ways; one that could not be scored is.

        captioned:  whether the rule for images with a caption holds; by default it does where the image has a score
                    under one. Controls are judged by the rule of the target that they are compared with.
        """
        if not self.looks_on(image, captioned=captioned):
            return False
        values = Values.of_score(image)
        if values is None:
            return True
        return self.score.passes(values, captioned=values.caption is not None if captioned is None else captioned)


def place_funnel(bank: NullBank | None, protocol: Protocol) -> Funnel | None:
    """Place the bounds of a protocol's funnel; None without a funnel, or with too few controls kept out to place one.

    Scores are those less what complexity explains, whatever a policy makes of them later. First looks need a bank whose
    controls all had the same one.
    """
    if bank is None or protocol.funnel is None:
        return None
    if any(Values.of_score(one) is None for one in (*bank.kept_out, *bank.controls)):
        return None
    scores = [Values.of_score(one) for one in bank.kept_out]
    bounds = Bounds.place([one for one in scores if one is not None], protocol.funnel.share)
    if bounds is None:
        return None
    return Funnel(protocol.funnel, _place_look(bank, protocol), bounds)


def _place_look(bank: NullBank, protocol: Protocol) -> Bounds | None:
    config = protocol.funnel.first_look if protocol.funnel else None
    if config is None:
        return None
    looks = [one.first_look for one in (*bank.controls, *bank.kept_out)]
    searched = {look and (look.steps, look.draws) for look in looks}
    steps = {config.count_steps(count) for count in protocol.score_steps}
    draws = len(config.choose_draws(protocol.error.draws))
    if len(searched) != 1 or not searched <= {(count, draws) for count in steps}:
        return None
    values = [Values.of_look(one) for one in bank.kept_out]
    return Bounds.place([one for one in values if one is not None], config.share)


def describe_left_out(funnel: Funnel, *, captioned: bool, scored: bool = True) -> str:
    """Return the reason why an image is not asked in all ways.

    scored:  False for one that is left out after its first look
    """
    if scored:
        which = "neither its score nor its score under its caption is" if captioned else "its score is not"
        highest, end = funnel.config.share, "so it was scored only"
    else:
        assert funnel.first_look is not None
        which = "neither its first look nor that under its caption is" if captioned else "its first look is not"
        highest, end = funnel.first_look.share, "so its score was not measured"
    return (
        f"{which} among the highest {100 * highest:g} % of what images like the controls get, {end}. That rules out no "
        "rate of copies"
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
    if funnel.score.caption_bounds is None:
        return (
            f"the funnel is not used for images with a caption, because that takes {count_needed(share / 2)} controls "
            "with a caption and a score under it: these images are asked in all ways"
        )
    if protocol.funnel.first_look and funnel.look is None:
        return (
            "no first look is taken, because the controls had none of the same kind: the score of every image is "
            "measured. Calibrate again to save that"
        )
    return ""


def count_needed(share: float) -> int:
    """Return how many controls have to be given to place a bound for a share of images.

    >>> count_needed(0.05), count_needed(0.025)
    (98, 156)
    """
    kept_out = ceil(1 / share - 1e-9) - 1
    return next(count for count in count_from(1) if count - count_bank_controls(count) >= kept_out)
