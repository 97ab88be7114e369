"""The same pictures generated with other thread counts, batch sizes and precisions, and on a GPU where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from imgaudit.benchmark.harness.lab_model import LabModel, describe_machine, open_lab
from imgaudit.benchmark.harness.procedure import OnStage
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import ReplaySettings
from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.inversion import make_initial_streams
from imgaudit.runs.cost import measured_batch
from imgaudit.runs.manifest import package_versions
from imgaudit.runs.replay.comparison import Pixels
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.schema.protocol import Effort, InversionConfig, Protocol, protocol_for
from imgaudit.schema.records import Record
from imgaudit.similarity.matcher import Matcher

REFERENCE_BATCH = 16
"""Batch of the pictures that all others are compared with; one thread, float32, on the processor."""

ANOTHER_SEED = "another seed"
"""Name of the comparison with the picture of the next seed: what a forged picture would be."""

PRECISION = "bfloat16"
"""Name of the comparison with weights and numbers in bfloat16."""


class PictureDifference(Record):
    """One picture of a lab, generated twice."""

    lab: str
    """The lab."""
    change: str
    """What was changed, in words."""
    largest: float
    """Largest difference of the two pictures, in levels of 0 to 255."""
    mean: float
    """Mean difference."""
    similarity: float
    """Difference of their similarities to a third picture, the deciding one."""
    distance: float
    """Difference of their distances to it."""


class ReplayTable(Table):
    """Every picture under every change."""

    long_lists = ("differences",)

    seed: int
    """Run seed."""
    hardware: str
    """Machine."""
    torch: str
    """Version."""
    captions: int
    """Captions of each lab."""
    pictures: int
    """Pictures of each lab under each change."""
    differences: list[PictureDifference]
    """One row per picture and change."""


@dataclass(frozen=True)
class _Circumstance:
    """The way in which pictures are generated."""

    name: str
    batch_size: int
    threads: int = 1
    half: bool = False
    device: str = "cpu"


def measure_replays(settings: ReplaySettings, on_stage: OnStage) -> ReplayTable:
    """Generate the same pictures in every circumstance, lab by lab."""
    found: list[PictureDifference] = []
    for lab in settings.labs:
        found += _measure_lab(lab, settings, on_stage)
    return ReplayTable(
        seed=settings.seed, hardware=describe_machine(), torch=package_versions()["torch"],
        captions=settings.captions, pictures=2 * settings.seeds * settings.captions, differences=found,
    )  # fmt: skip


def _measure_lab(name: str, settings: ReplaySettings, on_stage: OnStage) -> list[PictureDifference]:
    lab, protocol = open_lab(name, "cpu"), protocol_for(Effort.QUICK)
    wanted = _list_circumstances(lab, protocol)
    reference = _generate(lab, settings, protocol, wanted[0])
    found = _compare(lab.folder.name, ANOTHER_SEED, reference, _shift(reference, settings.seeds), settings.seeds)
    for done, circumstance in enumerate(wanted[1:], start=1):
        on_stage(lab.folder.name, done, len(wanted))
        used = open_lab(name, circumstance.device) if circumstance.half or circumstance.device != "cpu" else lab
        pictures = _generate(used, settings, protocol, circumstance)
        found += _compare(lab.folder.name, circumstance.name, reference, pictures, settings.seeds)
    on_stage(lab.folder.name, len(wanted), len(wanted))
    return found


def _list_circumstances(lab: LabModel, protocol: Protocol) -> list[_Circumstance]:
    """Return the reference, and what is compared with it."""
    automatic = measured_batch(lab.loaded.denoiser, protocol, chunk_size=1)
    listed = [
        _Circumstance("reference", REFERENCE_BATCH), _Circumstance("batch 1", 1), _Circumstance("batch 4", 4),
        _Circumstance(f"batch {automatic} (auto)", automatic), _Circumstance("2 threads", REFERENCE_BATCH, threads=2),
        _Circumstance("2 threads, batch 1", 1, threads=2), _Circumstance(PRECISION, REFERENCE_BATCH, half=True),
    ]  # fmt: skip
    if torch.cuda.is_available():
        listed.append(_Circumstance("GPU", REFERENCE_BATCH, device="cuda"))
    return listed


def _generate(
    lab: LabModel, settings: ReplaySettings, protocol: Protocol, circumstance: _Circumstance
) -> list[torch.Tensor]:
    """Generate every seed of every caption, and of an embedding of random numbers for it, in the same order."""
    denoiser: Denoiser = lab.loaded.denoiser
    if circumstance.half:
        pipeline: Any = getattr(denoiser, "pipeline")  # noqa: B009
        pipeline.to(torch.bfloat16)
    chosen = [image for image in lab.description.images if image.memorised and image.text][: settings.captions]
    texts = denoiser.condition([image.text for image in chosen])
    start = denoiser.start_condition()
    # An inverted embedding says nothing that a text could say, and random numbers do not either.
    random = make_initial_streams(
        denoiser, [image.sha256 for image in chosen], InversionConfig(initialisation="random"), settings.seed
    )
    embeddings = PromptEmbeds(start.repeat(len(chosen)).streams, start.free, start.repeat(len(chosen)).extras)
    seeds = [draw_replica_seeds(settings.seed, image.sha256, settings.seeds) for image in chosen]
    pictures: list[torch.Tensor] = []
    with _threads(circumstance.threads):
        for condition in (texts, embeddings.with_streams(random)):
            for frames in generate(
                denoiser, condition, seeds, guidance_scale=protocol.generation.guidance_scales[0],
                num_inference_steps=protocol.generation.num_inference_steps,
                executor=Executor(2 * circumstance.batch_size),
            ):  # fmt: skip
                pictures += [frame.image for frame in frames]
    return pictures


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _shift(pictures: list[torch.Tensor], seeds: int) -> list[torch.Tensor]:
    """Return in place of each picture that of the next seed of the same condition."""
    return [pictures[row - row % seeds + (row % seeds + 1) % seeds] for row in range(len(pictures))]


def _compare(
    lab: str, change: str, reference: list[torch.Tensor], pictures: list[torch.Tensor], seeds: int
) -> list[PictureDifference]:
    """Compare pictures one by one; the third picture, in the place of a target, is the next caption's first."""
    found, matcher = [], Matcher()
    for row, (before, after) in enumerate(zip(reference, pictures, strict=True)):
        third = reference[(row - row % seeds + seeds) % len(reference)]
        apart = Pixels.between(before, after)
        (one, far), (other, further) = matcher.compare(third, torch.stack([before, torch.nan_to_num(after)]))
        found.append(
            PictureDifference(
                lab=lab, change=change, largest=apart.largest, mean=apart.mean,
                similarity=abs(one[DECIDING_DESCRIPTOR] - other[DECIDING_DESCRIPTOR]),
                distance=abs(far[DECIDING_DISTANCE] - further[DECIDING_DISTANCE]),
            )
        )  # fmt: skip
    return found
