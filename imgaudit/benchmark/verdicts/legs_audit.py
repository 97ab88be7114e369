"""One audit of a lab with layouts, decided by pixels, by the copy descriptor, and by either."""

import enum
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field

from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.layout_settings import LegSettings
from imgaudit.benchmark.methods.lab_commands import copy_images
from imgaudit.benchmark.verdicts.unseen_layouts import make_layout_images
from imgaudit.exceptions import InputError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_tensor
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.io.writing import read_png
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.runs.audit import run_audit
from imgaudit.runs.callbacks import ignore_note
from imgaudit.runs.conclusion import decide_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.runs.inputs import AuditInputs, Origin
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.measures import COPY_DESCRIPTORS
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Effort
from imgaudit.schema.records import Measurement, Record, RungMeasurement
from imgaudit.similarity.matcher import matcher_of

TIMED = 20
"""Images on whose generated images the copy descriptor is timed."""


class Legs(enum.StrEnum):
    """The measures by which an audit decides; the names are those of the policy."""

    PIXELS = "both"
    DESCRIPTOR = "descriptor"
    EITHER = "either"


class Truth(enum.StrEnum):
    """What an image is, by the lab's own measurement."""

    WHOLE = "memorised whole"
    LAYOUT = "layout memorised"
    PLANTED = "planted, not reproduced"
    SEEN_ONCE = "seen once"
    HELD_OUT = "held out"
    UNSEEN_LAYOUT = "held out, in a layout"
    ALIKE = "alike, not copied"


class Decided(Record):
    """What an audit concludes by some legs."""

    verdict: Verdict
    """The conclusion."""
    overlap: float | None = Field(None, exclude_if=lambda value: value is None)
    """Intersection over union of the region that the verdict `partial` names with that of the layout, 0 to 1."""


class LegRow(Record):
    """One audited image."""

    sha256: str
    """First 16 hexadecimal digits."""
    truth: Truth
    """What it is."""
    repeats: int
    """Planted repeat count."""
    decided: dict[Legs, Decided]
    """Conclusions by each choice of legs, from the same measurements."""
    rendering: dict[str, float]
    """Similarity of the image with how the autoencoder renders it, by measure."""
    seconds: float
    """Time of the audit of this image, the copy descriptor included."""
    network_evaluations: int
    """Evaluations of the denoising network."""
    descriptor_seconds: float | None = Field(None, exclude_if=lambda value: value is None)
    """Time of the copy descriptor on its generated images; of a few images."""


class LegAudit(Record):
    """An audit and its conclusions."""

    descriptor: str
    """Name and origin of the copy descriptor; empty where this machine has none."""
    controls: int
    """Controls that count in p-values."""
    protocol_hash: str
    """Protocol of controls and targets."""
    rows: list[LegRow]
    """Every audited image, by SHA-256."""


def judge_truth(image: LabImage) -> Truth:
    """Return what an image is. A template whose image came back as a whole is memorised whole."""
    if image.role in ("planted", "template"):
        if image.memorised:
            return Truth.WHOLE
        return Truth.LAYOUT if image.layout_memorised else Truth.PLANTED
    if image.role == "held_out" and image.region is not None:
        return Truth.UNSEEN_LAYOUT
    return {"seen_once": Truth.SEEN_ONCE, "alike": Truth.ALIKE}.get(image.role, Truth.HELD_OUT)


@dataclass(frozen=True)
class Chosen:
    """Images of a lab by their part in the benchmark; no drawing is in two."""

    controls: Sequence[LabImage]
    """Held-out drawings that are controls."""
    audited: Sequence[LabImage]
    """Images to audit, apart from those in layouts that the lab was never trained on."""
    for_layouts: Sequence[LabImage]
    """Held-out drawings from which images in layouts are made."""
    control_layouts: int
    """How many of these are controls: the same share as in the portfolio. The others are audited."""


def choose_images(lab: LabDescription, settings: LegSettings) -> Chosen:
    """Choose images in order of SHA-256.

    Raises InputError for a lab without layouts, or with too few held-out images.
    """
    by_hash = sorted(lab.images, key=lambda image: image.sha256)
    unseen = [image for image in by_hash if image.role == "held_out"]
    templates = lab.with_role("template")
    if not templates:
        raise InputError(
            f"lab {lab.recipe.name!r} has no layouts that images share: use `imgaudit benchmark detection`"
        )
    audited = [image for image in by_hash if image.role in ("planted", "template", "alike")]
    audited += [image for image in by_hash if image.role == "seen_once"][: settings.seen_once]
    share = (len(templates) + settings.layouts) / (len(audited) + settings.held_out + settings.layouts)
    control_layouts = round(settings.controls * share)
    plain = settings.controls - control_layouts
    needed = plain + settings.held_out + 2 * (control_layouts + settings.layouts)
    if len(unseen) < needed:
        raise InputError(
            f"lab {lab.recipe.name!r} holds out {len(unseen)} images, but {needed} are needed: {plain} controls, "
            f"{settings.held_out} to audit, and two each for {control_layouts + settings.layouts} images in layouts"
        )
    audited += unseen[plain : plain + settings.held_out]
    return Chosen(
        unseen[:plain], sorted(audited, key=lambda image: image.sha256), unseen[plain + settings.held_out :],
        control_layouts,
    )  # fmt: skip


def audit_lab(work: LabWork, settings: LegSettings) -> LegAudit:
    """Audit a lab into a run folder; what is measured there already is decided again."""
    lab = work.lab.description
    chosen, folder = choose_images(lab, settings), work.folder / "layouts"
    count = chosen.control_layouts + settings.layouts
    layouts = make_layout_images(lab, chosen.for_layouts, count, work.located, folder, settings.seed)
    located = {**work.located, **{one.sha256: folder / one.file_name for one in layouts}}
    audited = [*chosen.audited, *layouts[chosen.control_layouts :]]
    controls = [*chosen.controls, *layouts[: chosen.control_layouts]]
    config = AuditConfig(
        effort=Effort.QUICK, framing=work.framing, seed=work.seed, batch_size=work.executor.batch_size,
    )  # fmt: skip
    run = RunFolder(work.folder / "run")
    origin = Origin(sys.argv, controls=f"held-out images of lab {lab.recipe.name}, never trained on")
    targets, unseen = (
        _read_images(work, images, located, work.folder / name)
        for name, images in (("targets", audited), ("controls", controls))
    )
    inputs = AuditInputs(targets, unseen, None, None, config.policy)
    with run.lock(), Invocation(run, "audit", origin.command) as invocation:
        run_audit(
            run, work.lab.loaded, inputs, config, origin, invocation=invocation, on_note=ignore_note,
            on_progress=work.on_stage,
        )  # fmt: skip
        return _read_audit(run, audited)


def _read_images(work: LabWork, images: Sequence[LabImage], located: Mapping[str, Path], folder: Path) -> Portfolio:
    """Read images from a folder of their own, with their captions."""
    if not folder.is_dir():
        copy_images(images, located, folder)
    return read_portfolio(folder, CaptionSource(folder), framing=work.framing)


def _read_audit(run: RunFolder, audited: Sequence[LabImage]) -> LegAudit:
    """Decide a run by each choice of legs."""
    manifest, known = read_manifest(run), {image.sha256: image for image in audited}
    results = {legs: decide_run(run, Policy(legs=legs.value)) for legs in Legs}
    findings = {legs: {one.sha256: one for one in result.findings} for legs, result in results.items()}
    rows = []
    measurements = sorted(run.read_measurements()[0], key=lambda one: one.sha256)
    for number, measurement in enumerate(measurements):
        image, seconds = known[measurement.sha256], None
        if number < TIMED and manifest.copy_descriptor:
            seconds = _time_descriptor(run, measurement, manifest.measured)
        rows.append(
            LegRow(
                sha256=measurement.sha256[:16], truth=judge_truth(image), repeats=image.repeats,
                decided={legs: _decide(findings[legs][measurement.sha256], image) for legs in Legs},
                rendering=_round(measurement.vae_floor), seconds=round(measurement.seconds, 3),
                network_evaluations=measurement.network_evaluations, descriptor_seconds=seconds,
            )
        )  # fmt: skip
    return LegAudit(
        descriptor=manifest.copy_descriptor, controls=results[Legs.PIXELS].summary.controls,
        protocol_hash=manifest.protocol_hash, rows=rows,
    )  # fmt: skip


def _round(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _decide(finding: Finding, image: LabImage) -> Decided:
    overlap = None
    if finding.verdict is Verdict.PARTIAL and finding.part is not None and image.region is not None:
        overlap = round(finding.part.pair.region.overlap(image.region), 4)
    return Decided(verdict=finding.verdict, overlap=overlap)


def _time_descriptor(run: RunFolder, measurement: Measurement, measured: set[str]) -> float:
    """Return the seconds in which the copy descriptor describes the generated images of an image, rung by rung."""
    [descriptor] = [one for one in matcher_of(measured)[0].descriptors if one.name in COPY_DESCRIPTORS]
    ladders = [one for one in measurement.rungs.values() if isinstance(one, RungMeasurement) and one.valid]
    pictures = [torch.stack([to_tensor(read_png(run.path / one.path)) for one in ladder.valid]) for ladder in ladders]
    # Besides, an audit describes the target, and how the autoencoder renders it, for its rungs and by itself.
    pictures += [batch[:1] for batch in pictures[:1] for _ in range(3)]
    begun = time.perf_counter()
    for batch in pictures:
        descriptor.describe(batch)
    return round(time.perf_counter() - begun, 4)
