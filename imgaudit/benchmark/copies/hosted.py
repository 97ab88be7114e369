"""`imgaudit match` from end to end on images that a lab made: what it finds, and what it finds in strangers.

A lab stands for a hosted model: its images are saved as files, and nothing else of it is used. It is asked with the
captions of images that it memorised, and with captions of held-out images. A *replica* is a generated image within RMS
0.1 of how the autoencoder renders its target, in the whole or inside the region of a shared layout. A *stranger* is one
that was generated for the caption of an image that is neither a target nor a decoy. It cannot be a copy of a held-out
target, but it can be one of a memorised target: other captions can bring that back too.
"""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    format_goals,
    format_rates,
    measure_rate,
)
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.benchmark.layout_settings import HostedSettings
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.exceptions import InputError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_batch, to_image, to_tensor
from imgaudit.io.portfolio import Target, read_portfolio
from imgaudit.io.writing import read_png, write_png
from imgaudit.lab.description import LabImage
from imgaudit.lab.truth import GUIDANCE_SCALE, INFERENCE_STEPS, RMS_LIMIT, cover_with_region
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.match import PACKAGES, MatchInputs, match_images
from imgaudit.runs.pair_scores import PairScores
from imgaudit.schema.match import MatchResult
from imgaudit.schema.records import Record, Skipped
from imgaudit.schema.text import wrap_prose
from imgaudit.similarity.parts.pair import LEAST_SIDE

LEVEL = 0.05
"""False discovery rate, and level of the thresholds."""

SEEN = ("copy", "partial")
"""Results that name a target as seen."""

STRANGERS = "strangers, held-out targets"
"""The group of images that nothing was copied for."""

Kind = Literal["whole", "layout", "none"]


class HostedImage(Record):
    """One generated image."""

    name: str
    """Its file."""
    target: str
    """First 16 hexadecimal digits of the target that it was asked for; empty for a stranger."""
    replica: Kind
    """The part of the target that it shows, by the truth of the lab."""
    by_parts: bool
    """True when it is found in parts with its own target, or with any held-out target in case of a stranger."""
    by_whole: bool
    """The same as a whole picture."""
    by_memorised: bool
    """True when a stranger is found with a target that the lab memorised: that can be a true copy."""
    similarity: float
    """Highest similarity as a whole picture with these targets."""

    @property
    def found(self) -> bool:
        """True when it is found in either way."""
        return self.by_parts or self.by_whole


WAYS: Mapping[str, Callable[[HostedImage], bool]] = {
    "found": lambda one: one.found, "in parts": lambda one: one.by_parts, "as a whole": lambda one: one.by_whole,
}  # fmt: skip
"""In which ways an image is found, by the name of the row."""


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
    made = [_judge(one, names, scores, result, asked) for one in images.targets]
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
    image: Target, names: Mapping[str, str], scores: PairScores, result: MatchResult, asked: Asked
) -> HostedImage:
    """Say in which ways an image is found. Raises InputError when there are too few decoys for both."""
    parts, whole = result.thresholds, result.whole_thresholds
    for one in (parts, whole):
        if isinstance(one, Skipped):
            raise InputError(f"the decoys set no thresholds: {one.skipped}")
    assert not isinstance(parts, Skipped) and not isinstance(whole, Skipped)
    own, row = names[image.path.name], scores.rows.get(image.image.sha256, {})
    compared = [row[name] for name in ([own] if own else [one.sha256 for one in asked.held_out]) if name in row]
    others = [] if own else [row[one.sha256] for one in asked.memorised if one.sha256 in row]
    return HostedImage(
        name=image.path.name, target=own[:16], replica="none",
        by_parts=any(parts.exceeded_by(one) for one in compared),
        by_whole=any(whole.exceeded_by(one) for one in compared),
        by_memorised=any(parts.exceeded_by(one) or whole.exceeded_by(one) for one in others),
        similarity=round(max((one.similarity for one in compared), default=-1.0), 4),
    )  # fmt: skip


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
    groups = {f"replicas: {kind}": [one for one in table.images if one.replica == kind] for kind in ("whole", "layout")}
    groups[STRANGERS] = [one for one in table.images if not one.target]
    rates = [
        measure_rate(name, group, [tell(one) for one in images])
        for group, images in groups.items()
        for name, tell in WAYS.items()
    ]
    reached = [one.by_memorised for one in groups[STRANGERS]]
    rates.append(measure_rate("found", "strangers, memorised targets", reached))
    known = [one.seen in SEEN for one in table.targets if one.role != "held_out" and one.replicas]
    unseen = [one.seen in SEEN for one in table.targets if one.role == "held_out"]
    rates += [
        measure_rate("seen, copy or partial", "targets with replicas", known),
        measure_rate("seen, copy or partial", "held-out targets", unseen),
    ]
    goals = [
        Goal.at_least("whole replicas found", rates[0], 0.9),
        Goal.within_level("held-out targets called seen", rates[-1], LEVEL),
    ]
    return HostedReport(table=table, rates=rates, goals=goals)


def format_hosted(report: HostedReport) -> Iterator[str]:
    """Format what was made, the rates, false findings per 1,000 strangers, and the goal."""
    table = report.table
    replicas = sum(one.replica != "none" for one in table.images)
    strangers = sum(not one.target for one in table.images)
    yield from wrap_prose(
        f"lab {table.lab}, seed {table.seed}, {table.decoys} decoys, level {LEVEL:g}, on {table.hardware}"
    )
    yield f"{len(table.images)} generated images: {replicas} replicas of targets, {strangers} strangers"
    yield ""
    yield from format_rates("per group", report.rates)
    [per_stranger] = [one for one in report.rates if (one.name, one.group) == ("found", STRANGERS)]
    for kind in ("whole", "layout", "none"):
        # Strangers have no target of their own: the one that they are most like counts.
        own = sorted(
            one.similarity for one in table.images if one.replica == kind and bool(one.target) != (kind == "none")
        )
        if own:
            group = "strangers with held-out targets" if kind == "none" else f"replicas ({kind}) with their target"
            yield from wrap_prose(
                f"similarity as a whole of {group}: {own[0]:.2f} to {own[-1]:.2f}, median {own[len(own) // 2]:.2f}"
            )
    held_out = sum(one.role == "held_out" for one in table.targets)
    yield from wrap_prose(
        f"false findings per 1,000 strangers, each compared with {held_out} held-out targets: "
        f"{1000 * per_stranger.rate:.0f} ({1000 * per_stranger.low:.0f} to {1000 * per_stranger.high:.0f})"
    )
    yield from format_goals(report.goals)


PROCEDURE = record_procedure(HostedTable, measure_hosted, report_hosted, format_hosted)
