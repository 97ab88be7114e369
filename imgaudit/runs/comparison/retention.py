"""Retained after mitigation: of the images that one run reproduces, how many the other still does, and with what help.

A fix is usually shown with the original captions. What an image's caption no longer returns may still be in the model,
and come back from an embedding inverted from the image: both runs therefore climb the same ladder, and only what is
gone from all of it is gone within the budget.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from imgaudit.schema.comparison import REPRODUCED, ImageComparison, ImageSide, RetainedFrom, Retention
from imgaudit.schema.records import TEXT_RUNGS, Rung, Skipped
from imgaudit.statistics import clopper_pearson

NONE_REPRODUCED = "no image that can be compared is reproduced in A: there is nothing to be retained"


def retained(images: Sequence[ImageComparison]) -> Retention | Skipped:
    """Count the images that A reproduces and that can be compared, by the rung that reproduced them in A and in B.

    Skipped where there are none: nothing of nothing must not look like a cure.
    """
    pairs = []
    for image in images:
        before, after = _rung(image.a), _rung(image.b)
        if image.rungs and before is not None:
            pairs.append((before, after))
    if not pairs:
        return Skipped(skipped=NONE_REPRODUCED)
    kept = [after for _, after in pairs if after is not None]
    interval = clopper_pearson(len(kept), len(pairs))
    return Retention(
        reproduced=len(pairs),
        retained=len(kept),
        low=interval.low,
        high=interval.high,
        from_text_before=sum(before in TEXT_RUNGS for before, _ in pairs),
        from_text=sum(after in TEXT_RUNGS for after in kept),
        by_inversion_only=sum(after not in TEXT_RUNGS for after in kept),
        by_rung=list(_by_rung(pairs)),
    )


def _by_rung(pairs: Sequence[tuple[Rung, Rung | None]]) -> Iterator[RetainedFrom]:
    for rung in Rung:
        counted = Counter(after for before, after in pairs if before is rung)
        if counted:
            in_b = {name: counted[name] for name in Rung if counted[name]}
            yield RetainedFrom(rung=rung, images=counted.total(), in_b=in_b)


def _rung(side: ImageSide | Skipped) -> Rung | None:
    """The lowest rung that reproduces an image; None where none does."""
    if isinstance(side, Skipped) or side.verdict not in REPRODUCED or isinstance(side.rung, Skipped):
        return None
    return side.rung


def retention_text(retention: Retention | Skipped) -> str:
    """One or two sentences with every number.

    >>> retention_text(Skipped(skipped="no image is reproduced in A"))
    'Retained: no image is reproduced in A.'
    """
    if isinstance(retention, Skipped):
        return f"Retained: {retention.skipped}."
    one = retention
    return (
        f"Retained: {one.retained} of the {one.reproduced} images that A reproduces are reproduced in B as well "
        f"({one.retained / one.reproduced:.0%}, {one.low:.0%} to {one.high:.0%} at 95 %): {one.from_text} from a "
        f"prompt or caption, which reproduced {one.from_text_before} in A, and {one.by_inversion_only} only by "
        "inversion from the image."
    )
