"""What a lab model memorised, measured on the weights that are shipped."""

import hashlib
from collections.abc import Callable, Sequence

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.index import FlatIndex
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.lab.description import UNLISTED, LabDescription, LabImage
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.training import TrainedLab
from imgaudit.lab.truth import Subject, Truth, cover_with_region, measure_truth
from imgaudit.similarity.descriptors import PixelDescriptor


def choose_subjects(entries: Sequence[CorpusEntry], side: int) -> dict[int, Subject]:
    """Return row to subject of every trained image that lab.json names; regions have `side` x `side` pixels."""
    trained = [row for row, entry in enumerate(entries) if entry.trained]
    subjects = {}
    for row, entry in enumerate(entries):
        if not entry.trained or entry.role in UNLISTED:
            continue
        others = [one for one in trained if one != row]
        region = None if entry.region is None else cover_with_region(entry.region, side)
        strangers = [one for one in others if entries[one].family != entry.family] if entry.family else []
        subjects[row] = Subject(entry.text, others, region, strangers)
    return subjects


def describe_lab(
    entries: Sequence[CorpusEntry],
    recipe: LabRecipe,
    trained: TrainedLab,
    denoiser: Denoiser,
    executor: Executor,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LabDescription:
    """Measure what a lab memorised, on the weights that are shipped, and find every image's nearest training image."""
    training_rows = [row for row, entry in enumerate(entries) if entry.trained]
    truths = measure_truth(denoiser, choose_subjects(entries, recipe.resolution), trained.pixels, executor, progress)
    descriptor = PixelDescriptor()
    vectors = descriptor.describe(trained.pixels)
    index = FlatIndex(descriptor)
    index.add([str(row) for row in training_rows], vectors[training_rows])
    exact = trained.plan.exact_exposures
    images = []
    for row, (entry, neighbours) in enumerate(zip(entries, index.search(vectors, 2), strict=True)):
        if entry.role in UNLISTED:
            continue
        nearest = next(neighbour for neighbour in neighbours if neighbour.id != str(row))
        truth = truths.get(row, Truth(0, 0))
        images.append(
            LabImage(
                file_name=entry.path.name,
                sha256=hashlib.sha256(entry.path.read_bytes()).hexdigest(),
                text=entry.text,
                role=entry.role,
                repeats=entry.repeats,
                trigger=entry.trigger,
                filtered=int(trained.filtered[row]),
                exposures=int(trained.plan.exposures[row]),
                exact_exposures=int(exact[row]),
                nearest_training_image=entries[int(nearest.id)].path.name,
                nearest_similarity=nearest.similarity,
                reproduced=truth.reproduced,
                region=entry.region,
                layouts_reproduced=truth.layouts,
                truth_seeds=truth.seeds,
            )
        )
    background, variations = (sum(entry.role == role for entry in entries) for role in UNLISTED)
    return LabDescription(recipe=recipe, background_images=background, variations=variations, images=images)
