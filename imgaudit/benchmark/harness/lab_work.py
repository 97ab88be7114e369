"""A benchmark's work on a lab: its model, its images, where finished work is kept, and how it is measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import torch

from imgaudit.benchmark.harness.cases import load_cases, locate
from imgaudit.benchmark.harness.lab_model import LabModel, open_lab
from imgaudit.benchmark.harness.procedure import OnStage, ignore_stage
from imgaudit.benchmark.settings import Batched, OnLab, OnModel, Seeded, Settings, WithFolder
from imgaudit.diffusion.context import EncodedImages
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import Generated
from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_batch
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.lab.description import LabImage
from imgaudit.schema.protocol import Framing
from imgaudit.similarity.matcher import Matcher

T = TypeVar("T")

BATCH_SIZE = 64
"""Largest network batch of benchmarks that have no option for it."""


@dataclass(frozen=True)
class LabWork:
    """What a benchmark measures with."""

    lab: LabModel
    """The lab and its model."""
    located: Mapping[str, Path]
    """SHA-256 of the lab's images to their files."""
    folder: Path
    """Finished work is kept here."""
    seed: int
    """Run seed."""
    executor: Executor
    """Decides how many samples pass the network at once."""
    on_stage: OnStage = ignore_stage
    """Told of progress."""

    @classmethod
    def open(cls, settings: OnModel, on_stage: OnStage) -> "LabWork":
        """Open the lab that the settings name. Raises InputError when it is no lab, or its images are not given."""
        lab = open_lab(settings.model, settings.device)
        located = locate(settings.images or _find_images(lab)) if isinstance(settings, OnLab) else {}
        # For mypy no class can be both of OnModel and of what other options belong to.
        given = cast(Settings, settings)
        folder = given.out if isinstance(given, WithFolder) else Path()
        seed = given.seed if isinstance(given, Seeded) else 0
        batch_size = given.batch_size if isinstance(given, Batched) else BATCH_SIZE
        return cls(lab, located, folder, seed, Executor(batch_size), on_stage)

    @property
    def denoiser(self) -> Denoiser:
        """The lab's model."""
        return self.lab.loaded.denoiser

    @property
    def framing(self) -> Framing:
        """The framing that the lab was trained with."""
        return self.lab.description.recipe.framing

    def load(self, images: Sequence[LabImage]) -> Portfolio:
        """Read images of the lab with their captions. Raises InputError when some are missing."""
        return load_cases(images, self.located)

    def tell(self, stage: str) -> Callable[[int, int], None]:
        """Return what reports the progress of one stage."""
        return partial(self.on_stage, stage)

    def encode(self, targets: Sequence[Target]) -> EncodedImages:
        """Frame, encode and render images under the lab's model."""
        return encode_targets(self.denoiser, targets, self.framing)


def _find_images(lab: LabModel) -> Path:
    """Return the folder of images that a bundled lab brings."""
    for name in ("benchmark", "portfolio"):
        if (folder := lab.folder / name).is_dir():
            return folder
    raise InputError(
        f"lab {lab.description.recipe.name!r} brings no images: build the corpus that its recipe names and pass it as "
        "--images"
    )


def on_lab(measure: Callable[[LabWork], T]) -> Callable[[OnModel, OnStage], T]:
    """Return what opens the lab that settings name and measures with it."""
    return lambda settings, on_stage: measure(LabWork.open(settings, on_stage))


def encode_targets(denoiser: Denoiser, targets: Sequence[Target], framing: Framing) -> EncodedImages:
    """Frame images, encode them and decode the latents again."""
    latents = denoiser.encode(to_batch((one.load().pixels for one in targets), denoiser.resolution, framing))
    return EncodedImages([one.image.sha256 for one in targets], latents, denoiser.decode(latents))


def best_similarities(rendered: torch.Tensor, batches: Iterable[Sequence[Generated]]) -> list[float]:
    """Return the highest similarity of each target's generated images; -1 for a target without a usable one."""
    matcher = Matcher()
    return [
        matcher.best_similarity(target, [frame.image for frame in batch if frame.invalid is None])
        for target, batch in zip(rendered, batches, strict=True)
    ]
