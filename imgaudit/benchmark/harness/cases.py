"""The images of a lab that a benchmark measures: chosen by content hash alone, never by how an audit judges them."""

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgaudit.decision.null_bank import count_bank_controls
from imgaudit.exceptions import InputError
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.schema.records import Rung


class Group(enum.StrEnum):
    """What an image is, by the lab's own measurement."""

    MEMORISED = "memorised"
    PLANTED_NOT_REPRODUCED = "planted, not reproduced"
    WITHHELD = "planted in the sibling only"
    SEEN_ONCE = "seen once"
    HELD_OUT = "held out"


def group_of(image: LabImage) -> Group:
    """Truth of one image; background images have none and are never benchmarked."""
    if image.role == "planted":
        return Group.MEMORISED if image.memorised else Group.PLANTED_NOT_REPRODUCED
    if image.role == "withheld":
        return Group.WITHHELD
    return Group.SEEN_ONCE if image.role == "seen_once" else Group.HELD_OUT


@dataclass(frozen=True)
class Cases:
    """Which images of a lab make the null bank and which are measured; no image is in both."""

    controls: list[LabImage]
    """The held-out images with the smallest hashes."""
    measured: list[LabImage]
    """All planted or withheld ones, the first seen-once ones, and the next held-out ones."""

    @property
    def bank(self) -> list[LabImage]:
        """The controls that give p-values: an audit's bank leaves out those on which complexity is fitted."""
        return self.controls[len(self.controls) - count_bank_controls(len(self.controls)) :]

    def of(self, *groups: Group) -> list[LabImage]:
        """Measured images of some groups."""
        return [image for image in self.measured if group_of(image) in groups]


@dataclass(frozen=True)
class CaseCounts:
    """How many images of each kind a benchmark takes; planted ones are always all taken."""

    controls: int = 320
    """Held-out images of the bank, a quarter of which only fits complexity."""
    held_out: int = 200
    """Other held-out images that are measured."""
    seen_once: int = 60
    """Seen-once images that are measured."""


def choose_cases(lab: LabDescription, counts: CaseCounts) -> Cases:
    """Split a lab's images into controls and measured ones, in order of SHA-256.

    Raises InputError when the lab holds out too few images.
    """
    by_hash = sorted(lab.images, key=lambda image: image.sha256)
    unseen = [image for image in by_hash if image.role == "held_out"]
    needed = counts.controls + counts.held_out
    if len(unseen) < needed:
        raise InputError(
            f"lab {lab.recipe.name!r} holds out {len(unseen)} images, but {needed} are needed: {counts.controls} "
            f"controls and {counts.held_out} to measure"
        )
    measured = [image for image in by_hash if image.role in ("planted", "withheld")]
    measured += [image for image in by_hash if image.role == "seen_once"][: counts.seen_once]
    measured += unseen[counts.controls : needed]
    return Cases(unseen[: counts.controls], sorted(measured, key=lambda image: image.sha256))


def locate(folder: Path) -> dict[str, Path]:
    """SHA-256 to path for every image file under a folder: labs know their images by content, not by name."""
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in find_images(folder)}


def require_located(images: Sequence[LabImage], located: Mapping[str, Path]) -> None:
    """Raises InputError when the folder lacks some images of a lab."""
    if missing := [image.file_name for image in images if image.sha256 not in located]:
        raise InputError(
            f"{len(missing)} of {len(images)} images of the lab are not in the folder given (such as {missing[0]!r}): "
            "build the corpus that its recipe names and pass it as --images"
        )


def load_cases(images: Sequence[LabImage], located: Mapping[str, Path]) -> Portfolio:
    """Read lab images with their captions. Raises InputError when the folder lacks some of them."""
    require_located(images, located)
    targets = [
        Target(located[image.sha256], load_image(located[image.sha256]).facts, {Rung.CAPTION: [image.text]})
        for image in images
    ]
    return Portfolio(sorted(targets, key=lambda target: target.image.sha256), [])
