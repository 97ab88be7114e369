"""`imgaudit match` from end to end on images that a lab made: what it finds, and what it finds in strangers.

A lab stands for a hosted model: its images are saved as files, and nothing else of it is used. It is asked with the
captions of images that it memorised, and with captions of held-out images. A *replica* is a generated image within RMS
0.1 of how the autoencoder renders its target, in the whole or inside the region of a shared layout. A *stranger* is one
that was generated for the caption of an image that is neither a target nor a decoy.
"""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from imgaudit.benchmark.harness.figures import Goal, MeasuredRate, format_goals, format_rates, measure_rate
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.benchmark.settings import HostedSettings
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.exceptions import InputError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_batch, to_image, to_tensor
from imgaudit.io.portfolio import Portfolio, Target, read_portfolio
from imgaudit.io.writing import read_png, write_png
from imgaudit.lab.description import LabImage
from imgaudit.lab.truth import GUIDANCE_SCALE, INFERENCE_STEPS, RMS_LIMIT, cover_with_region
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.match import PACKAGES, MatchInputs, PairScores, match_images
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.records import Record
from imgaudit.similarity.parts.pair import LEAST_SIDE

LEVEL = 0.05
"""False discovery rate, and level of the thresholds."""

SEEN = ("copy", "partial")
"""Results that name a target as seen."""

Kind = Literal["whole", "layout", "none"]


class HostedImage(Record):
    """One generated image."""

    name: str
    """Its file."""
    target: str
    """First 16 hexadecimal digits of the target that it was asked for; empty for a stranger."""
    replica: Kind
    """The part of the target that it shows, by the truth of the lab."""
    found: bool
    """True when both legs exceed the thresholds with its own target, or with any target in case of a stranger."""


class HostedTarget(Record):
    """One target."""

    sha256: str
    """First 16 hexadecimal digits."""
    role: str
    """planted, template or held_out."""
    replicas: int
    """Generated images that are replicas of it."""
    seen: str
    """The result of the match."""


class HostedTable(LabRecord, Table):
    """Everything that was generated and matched."""

    long_lists = ("images", "targets")

    decoys: int
    """Unrelated images that thresholds come from."""
    images: list[HostedImage]
    """Every generated image."""
    targets: list[HostedTarget]
    """Every target."""


class HostedReport(Record):
    """All figures of `imgaudit benchmark hosted`."""

    table: HostedTable
    """What they are computed from."""
    rates: list[MeasuredRate]
    """Proportions of images and of targets."""
    goals: list[Goal]
    """Goals and outcomes."""


@dataclass(frozen=True)
class Asked:
    """Images of the lab by their part in the benchmark; no image is in two."""

    memorised: Sequence[LabImage]
    """Targets that the lab memorised, as a whole or in their layout."""
    held_out: Sequence[LabImage]
    """Targets that it was never trained on."""
    decoys: Sequence[LabImage]
    """Images that are not asked for."""
    strangers: Sequence[LabImage]
    """Images whose captions are asked for, and that are compared with nothing."""

    @classmethod
    def choose(cls, images: Sequence[LabImage], settings: HostedSettings) -> "Asked":
        """Choose by SHA-256. Raises InputError with too few held-out images, or none that was memorised."""
        by_hash = sorted(images, key=lambda image: image.sha256)
        memorised = [image for image in by_hash if image.memorised or image.layout_memorised]
        unseen = [image for image in by_hash if image.role == "held_out"]
        needed = settings.decoys + settings.held_out + settings.strangers
        if not memorised or len(unseen) < needed:
            raise InputError(
                f"expected memorised images and {needed} held-out ones, but the lab has {len(memorised)} and "
                f"{len(unseen)}"
            )
        first, second = settings.decoys, settings.decoys + settings.held_out
        return cls(memorised, unseen[first:second], unseen[:first], unseen[second:needed])


def measure_hosted(settings: HostedSettings, on_stage: OnStage) -> HostedTable:
    """Generate images into a folder, match them, and compare with the truth. Finished work in the folder is kept."""
    work = LabWork.open(settings, on_stage)
    if work.denoiser.resolution < LEAST_SIDE:
        raise InputError(
            f"imgaudit match compares local features, which need images of {LEAST_SIDE} pixels; this lab makes images "
            f"of {work.denoiser.resolution}"
        )
    asked = Asked.choose(work.lab.description.images, settings)
    folder = work.folder / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    names = _generate(work, asked, settings, folder)
    run = RunFolder(work.folder / "match")
    run.path.mkdir(exist_ok=True)
    targets, decoys = work.load([*asked.memorised, *asked.held_out]), work.load(asked.decoys)
    images = read_portfolio(folder, CaptionSource(folder))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    inputs = MatchInputs(images, targets, decoys, folder.name, LEVEL, versions)
    result = match_images(run, inputs, on_progress=work.tell("comparing images"))
    subjects = [one.image.sha256 for one in (*targets.targets, *decoys.targets)]
    scores = PairScores(run.path, subjects, versions)
    thresholds = result.thresholds
    if not isinstance(thresholds, PairThresholds):
        raise InputError(f"the decoys set no thresholds: {thresholds.skipped}")
    made = [_judge(one, names, scores, thresholds, targets) for one in images.targets]
    truths = _tell_replicas(work, asked.memorised, folder, names)
    made = [one.model_copy(update={"replica": truths.get(one.name, "none")}) for one in made]
    seen = {one.sha256: one.seen for one in result.targets}
    rows = [
        HostedTarget(
            sha256=image.sha256[:16], role=image.role, seen=seen[image.sha256],
            replicas=sum(one.replica != "none" for one in made if one.target == image.sha256[:16]),
        )
        for image in (*asked.memorised, *asked.held_out)
    ]  # fmt: skip
    return HostedTable(
        lab=work.lab.description.recipe.name, seed=settings.seed, hardware=describe_hardware(work.denoiser),
        decoys=result.decoys, images=sorted(made, key=lambda one: one.name), targets=rows,
    )  # fmt: skip


def _generate(work: LabWork, asked: Asked, settings: HostedSettings, folder: Path) -> Mapping[str, str]:
    """Save what the lab makes for every caption; return file name to SHA-256 of the target, or nothing."""
    names: dict[str, str] = {}
    waiting: list[tuple[str, LabImage, int]] = []
    for image in (*asked.memorised, *asked.strangers):
        count = settings.each if image in asked.memorised else 1
        for number, seed in enumerate(draw_replica_seeds(settings.seed, image.sha256, count)):
            name = f"{image.sha256[:16]}-{number}.png"
            names[name] = image.sha256 if image in asked.memorised else ""
            if not (folder / name).is_file():
                waiting.append((name, image, seed))
    if waiting:
        condition = work.denoiser.condition([image.text for _, image, _ in waiting])
        made = generate(
            work.denoiser, condition, [[seed] for _, _, seed in waiting], guidance_scale=GUIDANCE_SCALE,
            num_inference_steps=INFERENCE_STEPS, executor=work.executor,
        )  # fmt: skip
        for done, ((name, _, _), [frame]) in enumerate(zip(waiting, made, strict=True), start=1):
            write_png(folder / name, to_image(torch.nan_to_num(frame.image, nan=-1.0)))
            work.on_stage("generating images", done, len(waiting))
    return names


def _judge(
    image: Target, names: Mapping[str, str], scores: PairScores, thresholds: PairThresholds, targets: Portfolio
) -> HostedImage:
    own, row = names[image.path.name], scores.rows.get(image.image.sha256, {})
    compared = [own] if own else [one.image.sha256 for one in targets.targets]
    found = any(sha256 in row and thresholds.exceeded_by(row[sha256]) for sha256 in compared)
    return HostedImage(name=image.path.name, target=own[:16], replica="none", found=found)


def _tell_replicas(
    work: LabWork, memorised: Sequence[LabImage], folder: Path, names: Mapping[str, str]
) -> dict[str, Kind]:
    """Return file name to the part of its target that a generated image shows, of those that show any."""
    denoiser, told = work.denoiser, dict[str, Kind]()
    for image in memorised:
        target = work.load([image]).targets[0].load().pixels
        [rendered] = denoiser.decode(denoiser.encode(to_batch([target], denoiser.resolution, work.framing)))
        for name in (name for name, sha256 in names.items() if sha256 == image.sha256):
            error = ((to_tensor(read_png(folder / name)) - rendered.cpu()) / 2).square().mean(dim=0)
            if float(error.mean().sqrt()) <= RMS_LIMIT:
                told[name] = "whole"
            elif image.region is not None:
                inside = cover_with_region(image.region, len(error))
                if float(error[inside].mean().sqrt()) <= RMS_LIMIT:
                    told[name] = "layout"
    return told


def report_hosted(table: HostedTable) -> HostedReport:
    """Compute all figures of a table; no model is needed."""
    rates = [
        measure_rate("found", f"replicas: {kind}", [one.found for one in table.images if one.replica == kind])
        for kind in ("whole", "layout")
    ]
    strangers = measure_rate("found", "strangers, any target", [one.found for one in table.images if not one.target])
    known = [one.seen in SEEN for one in table.targets if one.role != "held_out" and one.replicas]
    unseen = [one.seen in SEEN for one in table.targets if one.role == "held_out"]
    rates += [
        strangers,
        measure_rate("seen, copy or partial", "targets with replicas", known),
        measure_rate("seen, copy or partial", "held-out targets", unseen),
    ]
    goals = [Goal.within_level("held-out targets called seen", rates[-1], LEVEL)]
    return HostedReport(table=table, rates=rates, goals=goals)


def format_hosted(report: HostedReport) -> Iterator[str]:
    """Format what was made, the rates, false findings per 1,000 strangers, and the goal."""
    table = report.table
    replicas = sum(one.replica != "none" for one in table.images)
    strangers = sum(not one.target for one in table.images)
    yield f"lab {table.lab}, seed {table.seed}, {table.decoys} decoys, level {LEVEL:g}, on {table.hardware}"
    yield f"{len(table.images)} generated images: {replicas} replicas of targets, {strangers} strangers"
    yield ""
    yield from format_rates("per group", report.rates)
    per_stranger = report.rates[2]
    yield (
        f"false findings per 1,000 strangers, each compared with {len(table.targets)} targets: "
        f"{1000 * per_stranger.rate:.0f} ({1000 * per_stranger.low:.0f} to {1000 * per_stranger.high:.0f})"
    )
    yield from format_goals(report.goals)


PROCEDURE = record_procedure(HostedTable, measure_hosted, report_hosted, format_hosted)
