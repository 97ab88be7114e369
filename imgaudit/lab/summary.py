"""What a lab memorised, by how often its images were repeated."""

from collections.abc import Sequence

from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.schema.records import Record
from imgaudit.statistics import clopper_pearson


class MemorisedRow(Record):
    """Images of one kind that were repeated equally often."""

    kind: str
    """Their role in the training, or `layout` for the layout of templates that were not memorised as a whole."""
    repeats: int
    """Copies in the training set."""
    exposures: int
    """Times that training showed each."""
    images: int
    """How many there are."""
    memorised: int
    """How many of them were memorised."""
    low: float
    """Lower end of the 95 % interval of the share (Clopper-Pearson), 0 to 1."""
    high: float
    """Upper end."""
    mean_rate: float
    """Mean share of seeds that gave the image, or its layout, back; 0 to 1."""


def summarise_memorised(description: LabDescription) -> list[MemorisedRow]:
    """Count memorised images by repeats and role; the layouts of templates follow with rows of their own."""
    judged = [image for image in description.images if image.truth_seeds]
    groups: dict[tuple[int, str], list[LabImage]] = {}
    for image in judged:
        groups.setdefault((image.repeats, image.role), []).append(image)
    rows = [
        _count(role, images, [image.memorised for image in images], [image.reproduced for image in images])
        for (_, role), images in sorted(groups.items())
    ]
    for (_, role), images in sorted(groups.items()):
        others = [image for image in images if not image.memorised]
        if role == "template" and others:
            rows.append(
                _count("layout", others, [image.layout_memorised for image in others],
                       [image.layouts_reproduced for image in others])
            )  # fmt: skip
    return rows


def _count(kind: str, images: Sequence[LabImage], memorised: Sequence[bool], seeds: Sequence[int]) -> MemorisedRow:
    low, high = clopper_pearson(sum(memorised), len(images))
    rates = [given / image.truth_seeds for given, image in zip(seeds, images, strict=True)]
    return MemorisedRow(
        kind=kind, repeats=images[0].repeats, exposures=images[0].exposures, images=len(images),
        memorised=sum(memorised), low=low, high=high, mean_rate=sum(rates) / len(rates),
    )  # fmt: skip
