"""Images in layouts that a lab was never trained on: like its templates in everything but the training.

Posters, framed pictures and pictures with a logo differ from drawings without any model. Put against controls that are
all drawings, they raise the blind baseline's alarm, and rightly so: the controls of a portfolio have to hold as many of
each kind as the portfolio does.
"""

import random
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from PIL import Image

from imgaudit.benchmark.harness.cases import require_located
from imgaudit.exceptions import InputError
from imgaudit.io.reading import hash_file
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.lab.layouts import KINDS, LEAST_DETAIL, LayoutKind, detail, draw_layout, trimmed
from imgaudit.schema.pairs import Region


def list_kinds(lab: LabDescription) -> list[LayoutKind]:
    """Return the kinds of a lab's layouts, which file names of templates have before their number."""
    names = [image.file_name.rsplit("-", 2) for image in lab.with_role("template")]
    kinds = [kind for name in names for kind in KINDS if len(name) == 3 and name[1] == kind]
    return kinds or list(KINDS)


def make_layout_images(
    lab: LabDescription, drawings: Sequence[LabImage], count: int, located: Mapping[str, Path], folder: Path, seed: int
) -> list[LabImage]:
    """Set drawings into layouts made of other drawings, in the way of the lab's corpus; by order, each used once.

    drawings:  images of the lab that it was never trained on; a layout is made of the first that have enough detail
    located:   SHA-256 of the lab's images to their files
    folder:    where the pictures are written; the same arguments write the same bytes
    Returns    `count` images with the role held_out and the region of their layout. How far they are from the nearest
               training image is not known, and stands as 0.
    Raises InputError when there are too few drawings with detail.
    """
    require_located(drawings, located)
    pictures = {one.sha256: Image.open(located[one.sha256]).convert("RGB") for one in drawings}
    detailed = [one for one in drawings if detail(trimmed(pictures[one.sha256])) >= LEAST_DETAIL][:count]
    chosen = {one.sha256 for one in detailed}
    contents = [one for one in drawings if one.sha256 not in chosen][:count]
    if min(len(detailed), len(contents)) < count:
        raise InputError(
            f"expected {count} drawings for layouts and {count} to set into them, got {len(detailed)} with enough "
            f"detail and {len(contents)} others"
        )
    folder.mkdir(parents=True, exist_ok=True)
    rng, made = random.Random(seed), []
    for own, content, kind in zip(detailed, contents, cycle(list_kinds(lab)), strict=False):
        side = pictures[own.sha256].width
        layout = draw_layout(kind, pictures[own.sha256], side, rng)
        path = folder / f"{own.sha256[:16]}-{kind}-00.png"
        layout.fill(trimmed(pictures[content.sha256])).save(path)
        title = own.text.split(", ")[0]
        made.append(
            LabImage(
                file_name=path.name, sha256=hash_file(path), text=f"{title} {kind}, {content.text}", role="held_out",
                repeats=0, exposures=0, exact_exposures=0, nearest_training_image="", nearest_similarity=0.0,
                reproduced=0, region=Region.of(layout.mask), truth_seeds=0,
            )
        )  # fmt: skip
    return made
