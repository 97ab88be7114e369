"""lab.json: the training images of a lab model one by one, and which of them it memorised."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json, write_json
from imgaudit.lab.corpus import CorpusEntry, Role
from imgaudit.lab.recipe import DistillationRecipe, LabRecipe
from imgaudit.lab.truth import NEEDED
from imgaudit.schema.pairs import Region
from imgaudit.schema.records import Record

UNLISTED: tuple[Role, ...] = ("background", "variation")
"""Images that lab.json does not name: nothing is claimed about them."""


class LabImage(Record):
    """One corpus image and what is known about it."""

    file_name: str
    """Name in the corpus."""
    sha256: str
    """SHA-256 of the file."""
    text: str
    """Caption."""
    role: Role
    """planted, template, withheld, seen_once, held_out or alike."""
    repeats: int
    """Planted repeat count; 1 for seen once, 0 for what was not trained on."""
    trigger: str = Field("", exclude_if=lambda value: not value)
    """The invented word in the caption, of recipes that ask for trigger words."""
    filtered: int = Field(0, exclude_if=lambda value: not value)
    """Number of exposures that the recipe's filter left out of the loss."""
    exposures: int
    """Number of times the training showed it, augmented or not."""
    exact_exposures: int
    """Number of times it was shown unaugmented."""
    nearest_training_image: str
    """The training image, other than itself, with the highest pixel correlation."""
    nearest_similarity: float
    """That correlation."""
    reproduced: int
    """Seeds that gave the image back for its caption."""
    region: Region | None = Field(None, exclude_if=lambda value: value is None)
    """The place of the layout that it shares with other images, of templates."""
    layouts_reproduced: int = Field(0, exclude_if=lambda value: not value)
    """Seeds that gave this layout back inside its region."""
    truth_seeds: int
    """Seeds tried: 64, or 16 when none of those succeeded, or 0 for images that were not trained on."""

    @property
    def memorised(self) -> bool:
        """Reproduced by at least 32 of 64 seeds."""
        return self.reproduced >= NEEDED

    @property
    def layout_memorised(self) -> bool:
        """The layout alone was reproduced by at least 32 of 64 seeds: the content of the image was not."""
        return self.layouts_reproduced >= NEEDED and not self.memorised


class LabDescription(Record):
    """The whole of lab.json."""

    schema_version: int = 1
    """Version of this format."""
    recipe: LabRecipe
    """The recipe that the model was made from."""
    distillation: DistillationRecipe | None = Field(None, exclude_if=lambda value: value is None)
    """For a lab that was distilled: how, and from which lab. `recipe` is then the teacher's under another name, and
    exposures are those of the teacher's training."""
    autoencoder: str = "its own"
    """The lab whose autoencoder was used."""
    background_images: int
    """Number of other images trained on; nothing is claimed about them, so they are not listed."""
    variations: int = Field(0, exclude_if=lambda value: not value)
    """Number of images trained on that share the layout of a template; they are not listed either."""
    images: list[LabImage]
    """Every image that is neither background nor the variation of a layout."""

    def with_role(self, role: Role) -> list[LabImage]:
        """Return the images of one role."""
        return [image for image in self.images if image.role == role]

    def require_corpus(self, entries: Sequence[CorpusEntry]) -> None:
        """Check that a corpus with roles is the one that the lab was trained on.

        Raises InputError otherwise, with the first image that differs.
        """
        background = sum(entry.role == "background" for entry in entries)
        if background != self.background_images:
            raise InputError(
                f"these are not the images of lab {self.recipe.name!r}: they leave {background} for the background, "
                f"where the lab has {self.background_images}"
            )
        listed = {image.sha256: image.role for image in self.images}
        for entry in entries:
            if entry.role in UNLISTED:
                continue
            role = listed.get(hashlib.sha256(entry.path.read_bytes()).hexdigest(), "none of them")
            if role != entry.role:
                raise InputError(
                    f"these are not the images of lab {self.recipe.name!r}: {entry.path.name!r} would be {entry.role}, "
                    f"and there it is {role}"
                )

    @classmethod
    def read(cls, path: Path) -> "LabDescription":
        """Read lab.json."""
        return cls.model_validate(read_json(path))

    def write(self, path: Path) -> None:
        """Write lab.json."""
        write_json(path, self.model_dump(mode="json"))
