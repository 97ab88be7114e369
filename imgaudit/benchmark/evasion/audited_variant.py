"""What an audit says of a lab's images under one way of evading it: measured once, decided from its run folder."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import Field

from imgaudit.benchmark.evasion.variants import Subject, Variant
from imgaudit.benchmark.harness.cases import CaseCounts, Cases, Group, choose_cases, group_of
from imgaudit.benchmark.harness.lab_work import LabWork, encode_targets
from imgaudit.benchmark.methods.lab_commands import copy_images
from imgaudit.decision.copy_thresholds import ABSOLUTE_STANDARD
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import generate
from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.lab.description import LabImage
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.audit import run_audit
from imgaudit.runs.callbacks import ignore_note
from imgaudit.runs.conclusion import match_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.runs.inputs import AuditInputs, Origin
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.model_checks import read_model_checks
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.schema.protocol import Effort
from imgaudit.schema.records import Measurement, Record, Rung, RungMeasurement, Skipped
from imgaudit.similarity.matcher import Matcher

T = TypeVar("T")

CHUNK = 16
"""Images inverted together."""
SAMPLING_STEPS = 10
"""Sampling steps of every generated image: half of the quick effort's, as many models are audited."""
EMPTY_PROMPT_IMAGES = 64
"""Images that are generated for the empty prompt."""


class SeedCount(Record):
    """Generated images, and how many of them are near-identical to an image by the absolute standard."""

    n: int
    """Seeds that could be scored."""
    close: int
    """Seeds that gave an image near-identical to it."""

    @property
    def returned(self) -> bool:
        """True where at least half of the seeds did."""
        return self.n > 0 and 2 * self.close >= self.n


class AuditedImage(Record):
    """One image of the lab under one variant."""

    sha256: str
    """First 16 hexadecimal digits."""
    group: Group
    """Truth, by the lab."""
    verdict: Verdict
    """Conclusion of the audit with the captions given."""
    withheld: Verdict
    """Conclusion of the same audit without any caption."""
    unchecked: Verdict
    """Conclusion with the captions, had the model not been checked before."""
    score: float | None
    """Score; None where there is none."""
    caption: SeedCount
    """Images generated for its caption."""
    embedding: SeedCount
    """Images generated from the embedding inverted from it."""


class SeenAlarm(Record):
    """An alarm that the reader of the report would have seen."""

    code: str
    """Its code."""
    images: int
    """Images that it belongs to; 0 for an alarm on the whole run."""
    message: str
    """Its message; of images, the first one's."""


class AuditedVariant(Record):
    """The audit of one variant."""

    name: str
    """The way of evading."""
    lab: str
    """Lab model."""
    refused: str = ""
    """Reason why the audit refuses the model; empty where it does not."""
    controls: int = 0
    """Controls that count in the bank."""
    images: list[AuditedImage] = Field([])
    """Every image that was audited, by SHA-256."""
    alarms: list[SeenAlarm] = Field([])
    """Alarms of the run, then of its images."""
    empty_prompt: SeedCount | None = None
    """Images generated for the empty prompt that are near-identical to a memorised image of the lab; None where the
    model was refused."""


def choose_images(subject: Subject, counts: CaseCounts, memorised: int) -> Cases:
    """Choose controls, memorised and held-out images in order of SHA-256."""
    cases = choose_cases(subject.work.lab.description, counts)
    return Cases(cases.controls, [*cases.of(Group.MEMORISED)[:memorised], *cases.of(Group.HELD_OUT)])


def audit_config(work: LabWork) -> AuditConfig:
    """Return the options of every audit: the quick effort with fewer sampling steps, framed as the lab was."""
    return AuditConfig(
        effort=Effort.QUICK, framing=work.framing, seed=work.seed, chunk_size=CHUNK, num_inference_steps=SAMPLING_STEPS,
        batch_size=work.executor.batch_size,
    )  # fmt: skip


def audit_variant(variant: Variant, subject: Subject, cases: Cases) -> AuditedVariant:
    """Audit one variant into a run folder of its own; what is measured there already is decided again."""
    work, lab = subject.work, subject.work.lab.description
    try:
        loaded = variant.load(subject)
    except ModelRefusedError as error:
        return AuditedVariant(name=variant.name, lab=lab.recipe.name, refused=str(error))
    folder, config = work.folder / variant.name.replace(" ", "-"), audit_config(work)
    targets, controls = (
        _read_images(variant, work, images, folder / name)
        for name, images in (("targets", cases.measured), ("controls", cases.controls))
    )
    run = RunFolder(folder / "run")
    origin = Origin(sys.argv, controls=f"held-out images of lab {lab.recipe.name}, never trained on")
    inputs = AuditInputs(targets, controls, None, None, config.policy)
    with run.lock(), Invocation(run, "audit", origin.command) as invocation:
        result = run_audit(
            run, loaded, inputs, config, origin, invocation=invocation, on_note=ignore_note,
            on_progress=lambda stage, done, total: work.on_stage(f"{variant.name}: {stage}", done, total),
        )  # fmt: skip
        images = _make_images(run, result, cases)
    alarms = [SeenAlarm(code=one.code, images=0, message=one.message) for one in result.summary.alarms]
    return AuditedVariant(
        name=variant.name, lab=lab.recipe.name, controls=result.summary.controls, images=images,
        alarms=[*alarms, *_image_alarms(result.findings)], empty_prompt=_ask_empty_prompt(loaded, subject, config),
    )  # fmt: skip


def _read_images(variant: Variant, work: LabWork, images: Sequence[LabImage], folder: Path) -> Portfolio:
    """Read images from a folder of their own, with the captions that the audit is given."""
    if not folder.is_dir():
        given = [_without_trigger(image) if variant.triggers else image for image in images]
        copy_images(given, work.located, folder)
    return read_portfolio(folder, CaptionSource(folder), framing=work.framing)


def _make_images(run: RunFolder, result: AuditResult, cases: Cases) -> list[AuditedImage]:
    """Return every image that was measured, with its verdicts, in order of SHA-256."""
    measurements = {one.id: one for one in run.read_measurements()[0]}
    known = {image.sha256: image for image in cases.measured}
    withheld = {one.id: one.verdict for one in decide_again(run, captions=False)}
    unchecked = {one.id: one.verdict for one in decide_again(run, checks=False)}
    images = []
    for finding in sorted(result.findings, key=lambda one: one.sha256):
        if (measurement := measurements.get(finding.id)) is None:
            continue
        images.append(
            AuditedImage(
                sha256=finding.sha256[:16], group=group_of(known[finding.sha256]), verdict=finding.verdict,
                withheld=withheld[finding.id], unchecked=unchecked[finding.id],
                score=None if isinstance(finding.score, Skipped) else round(finding.score, 5),
                caption=_count_close(measurement, Rung.CAPTION),
                embedding=_count_close(measurement, Rung.EMBEDDING),
            )
        )  # fmt: skip
    return images


def _without_trigger(image: LabImage) -> LabImage:
    """Return the image with the caption that its owner would give: the lab's, without the invented word."""
    words = [word for word in image.text.split() if not image.trigger or image.trigger not in word]
    return image.model_copy(update={"text": " ".join(words)})


def decide_again(run: RunFolder, *, captions: bool = True, checks: bool = True) -> list[Finding]:
    """Decide a run in another way; nothing is written, or measured again.

    captions:  False decides as if neither its images nor its controls had captions
    checks:    False decides as if its model had not been checked
    """
    manifest, bank = read_manifest(run), NullBank.read(run.calibration_path)
    measurements, _ = run.read_measurements()
    if not captions:
        kept_out, controls = (
            [one.model_copy(update={"rungs": _without_caption(one.rungs), "caption_log_ratio": None}) for one in own]
            for own in (bank.kept_out, bank.controls)
        )
        bank = bank.model_copy(update={"kept_out": kept_out, "controls": controls})
        measurements = [
            one.model_copy(update={"rungs": _without_caption(one.rungs), "caption_error": None}) for one in measurements
        ]
    duplicates, crossed = match_run(run, measurements, Matcher(), manifest.groups)
    checked = read_model_checks(run) if checks else None
    evidence = Evidence(
        bank, manifest.protocol, manifest.policy, duplicates, manifest.groups, cross_matches=crossed,
        model_checks=checked.checks if checked else (), copy_descriptor=manifest.copy_descriptor,
    )  # fmt: skip
    return conclude_folder(FolderDecision(measurements, evidence))


def _without_caption(rungs: Mapping[Rung, T]) -> dict[Rung, T]:
    return {rung: measured for rung, measured in rungs.items() if rung is not Rung.CAPTION}


def _count_close(measurement: Measurement, rung: Rung) -> SeedCount:
    measured = measurement.ladder(rung)
    if not isinstance(measured, RungMeasurement):
        return SeedCount(n=0, close=0)
    close = [
        _is_close(one.similarity, one.distance)
        for one in measured.valid
        if isinstance(one.similarity, dict) and isinstance(one.distance, dict)
    ]
    return SeedCount(n=len(close), close=sum(close))


def _is_close(similarity: Mapping[str, float], distance: Mapping[str, float]) -> bool:
    return ABSOLUTE_STANDARD.is_copy(similarity[DECIDING_DESCRIPTOR], distance[DECIDING_DISTANCE])


def _image_alarms(findings: Sequence[Finding]) -> list[SeenAlarm]:
    """Count the alarms of single images by code, in the order in which they first occur."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        for alarm in finding.alarms:
            found.setdefault(alarm.code.value, []).append(alarm.message)
    return [SeenAlarm(code=code, images=len(messages), message=messages[0]) for code, messages in found.items()]


def _ask_empty_prompt(loaded: LoadedModel, subject: Subject, config: AuditConfig) -> SeedCount:
    """Generate images for the empty prompt, and count those that are near-identical to a memorised image of the lab."""
    denoiser, work = loaded.denoiser, subject.work
    memorised = [image for image in work.lab.description.images if group_of(image) is Group.MEMORISED]
    rendered = encode_targets(denoiser, work.load(memorised).targets, work.framing).rendered
    [generated] = generate(
        denoiser, denoiser.null_condition(), [range(EMPTY_PROMPT_IMAGES)], guidance_scale=1.0,
        num_inference_steps=config.protocol.generation.num_inference_steps, executor=Executor(work.executor.batch_size),
    )  # fmt: skip
    usable = [one.image for one in generated if one.invalid is None]
    if not usable or not memorised:
        return SeedCount(n=len(usable), close=0)
    images = torch.stack(usable)
    matcher = Matcher(descriptors=[Matcher().deciding()])
    close = torch.tensor([[_is_close(*pair) for pair in matcher.compare(target, images)] for target in rendered])
    return SeedCount(n=len(usable), close=int(close.any(dim=0).sum()))
