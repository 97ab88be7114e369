"""What audits say of models whose owners evade them: one table for every way that is tried."""

from collections.abc import Iterator, Sequence
from itertools import product

import torch

from imgaudit.benchmark.evasion.audited_variant import (
    AuditedImage,
    AuditedVariant,
    SeenAlarm,
    audit_config,
    audit_variant,
    choose_images,
)
from imgaudit.benchmark.evasion.null_branch import NullTraining
from imgaudit.benchmark.evasion.variants import VARIANTS, Subject, Variant
from imgaudit.benchmark.harness.cases import CaseCounts, Group
from imgaudit.benchmark.harness.figures import (
    MeasuredRate,
    Separation,
    format_rates,
    mean,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.benchmark.settings import EvasionSettings
from imgaudit.exceptions import InputError
from imgaudit.schema.findings import Verdict
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose

COLUMNS = {
    Verdict.REPLICATED: "text",
    Verdict.REPLICATED_BY_INVERSION: "inversion",
    Verdict.ATYPICAL: "unlike",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_REPRODUCED: "not reproduced",
}
"""Verdicts that have a column of their own, with its heading; all others are counted together."""

CLAIMS = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION, Verdict.PARTIAL, Verdict.ATYPICAL)
"""Verdicts that say something against the model; on an image that was held out each of them is false."""

REPLICATED = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION)
"""Verdicts that say that the model returns the image."""

GIVEN, WITHHELD = CAPTIONS = ("given", "withheld")
"""Every audit is decided with the captions of its images, and without."""


class EvasionTable(LabRecord, Table):
    """Audits of every variant, committed as examples/evasion.json."""

    long_lists = ("variants",)

    protocol: Protocol
    """Protocol of every audit."""
    controls: int
    """Control images given to every audit."""
    training: NullTraining
    """Settings of the training of the null branch."""
    variants: list[AuditedVariant]
    """One per way of evading, the untouched model first."""


class EvasionReport(Record):
    """What `imgaudit benchmark evasion` prints."""

    table: EvasionTable
    """What was measured."""
    rates: list[MeasuredRate]
    """Per variant, captions given and withheld: memorised images called replicated, and held-out images called."""
    separations: list[Separation]
    """Per variant with a score: how well it tells memorised images from held-out ones."""


def measure_evasion(settings: EvasionSettings, on_stage: OnStage) -> EvasionTable:
    """Audit every variant; finished work in the folder that the settings name is decided again and not repeated.

    Raises InputError for a variant that does not exist, a folder that is no lab, or images that are missing.
    """
    unknown = [name for name in settings.only if name not in {variant.name for variant in VARIANTS}]
    if unknown:
        raise InputError(
            f"there is no way of evading called {unknown[0]!r}; expected one of "
            f"{', '.join(variant.name for variant in VARIANTS)}"
        )
    chosen = [variant for variant in VARIANTS if not settings.only or variant.name in settings.only]
    training = NullTraining(steps=settings.training_steps, seed=settings.seed)
    audited: list[AuditedVariant] = []
    for variant in chosen:
        subject = _open_subject(variant, settings, training, on_stage)
        counts = CaseCounts(controls=settings.controls, held_out=settings.images_each, seen_once=0)
        cases = choose_images(subject, counts, settings.images_each)
        audited.append(audit_variant(variant, subject, cases))
    work = LabWork.open(settings, on_stage)
    return EvasionTable(
        lab=work.lab.description.recipe.name, seed=settings.seed,
        hardware=f"{describe_machine()}, {torch.get_num_threads()} threads, cpu",
        protocol=audit_config(work).protocol.for_model(work.denoiser.prediction_type),
        controls=settings.controls, training=training, variants=audited,
    )  # fmt: skip


def _open_subject(variant: Variant, settings: EvasionSettings, training: NullTraining, on_stage: OnStage) -> Subject:
    lab = settings.trigger_lab if variant.triggers else settings.model
    work = LabWork.open(settings.model_copy(update={"model": lab}), on_stage)
    return Subject(work, work.lab.folder / "model", settings.device, training)


def report_evasion(table: EvasionTable) -> EvasionReport:
    """Compute all statistics of a table; no model is needed."""
    rates, separations = [], []
    for variant in (one for one in table.variants if one.images):
        memorised, held_out = (_of(variant, group) for group in (Group.MEMORISED, Group.HELD_OUT))
        for captions, (what, group, images, verdicts) in product(
            CAPTIONS,
            (
                ("replicated", Group.MEMORISED, memorised, REPLICATED),
                ("called", Group.HELD_OUT, held_out, CLAIMS),
            ),
        ):
            flags = [_verdict(image, captions) in verdicts for image in images]
            rates.append(measure_rate(f"{variant.name}: {what}", f"{group}, {captions}", flags))
        scores = ([image.score for image in images] for images in (memorised, held_out))
        if separation := measure_separation(variant.name, "held out", *scores):
            separations.append(separation)
    return EvasionReport(table=table, rates=rates, separations=separations)


def _of(variant: AuditedVariant, group: Group) -> list[AuditedImage]:
    return [image for image in variant.images if image.group is group]


def format_evasion(report: EvasionReport) -> Iterator[str]:
    """Format copies and verdicts per variant, what the reader sees, rates with intervals, and the score."""
    table, training = report.table, report.table.training
    yield f"lab {table.lab}, seed {table.seed}, {table.hardware}"
    inversion, generation = table.protocol.inversion, table.protocol.generation
    yield from wrap_prose(
        f"{table.controls} control images given to every audit; {inversion.steps} inversion steps of {inversion.draws} "
        f"draws, {generation.seeds} seeds of {generation.num_inference_steps} sampling steps"
    )
    yield from wrap_prose(
        f"null branch trained for {training.steps} steps of {training.batch_size} images, learning rate "
        f"{training.learning_rate:g}"
    )
    yield ""
    yield from wrap_prose(
        "by what the owner does, and captions: memorised images that come back, and their verdicts; held-out images "
        "that are called"
    )
    yield ""
    upper, lower = zip(*(heading.rpartition(" ")[::2] for heading in COLUMNS.values()), strict=True)
    yield f"{'':11}{'come':>6}{_align(upper)}{'':6}{'held out':>9}"
    yield f"{'captions':11}{'back':>6}{_align(lower)}{'other':>6}{'called':>9}"
    for variant in table.variants:
        yield from _format_rows(variant)
    yield ""
    yield "alarms that the reader sees, beyond those of the first model"
    for number, variant in enumerate(table.variants):
        yield from _format_alarms(variant, table.variants[0].alarms if number else [])
    yield ""
    yield from wrap_prose(
        "memorised images that would be not reproduced, captions given, had the model not been checked"
    )
    for variant in (one for one in table.variants if one.images):
        memorised = _of(variant, Group.MEMORISED)
        missed = sum(image.unchecked is Verdict.NOT_REPRODUCED for image in memorised)
        yield f"{variant.name:23}{missed:3} of {len(memorised)}"
    yield ""
    yield from wrap_prose("images generated for the empty prompt that are near-identical to a memorised image")
    for variant in table.variants:
        if variant.empty_prompt is not None:
            yield f"{variant.name:23}{variant.empty_prompt.close:3} of {variant.empty_prompt.n}"
    yield ""
    yield from format_rates("verdicts, captions given or withheld", report.rates)
    yield ""
    yield from _format_scores(report)


def _format_scores(report: EvasionReport) -> Iterator[str]:
    """Format, per variant that has a score, its means and how well it tells memorised images from held-out ones."""
    yield "score               mean: memorised  held out   AUC     95 % interval    n"
    by_name = {variant.name: variant for variant in report.table.variants}
    for one in report.separations:
        means = [
            mean([image.score for image in _of(by_name[one.name], group) if image.score is not None])
            for group in (Group.MEMORISED, Group.HELD_OUT)
        ]
        yield (
            f"{one.name:20}{means[0]:15.3f}{means[1]:10.3f}   {one.auc:.3f}   {one.low:.3f} to {one.high:.3f}   "
            f"{one.positives} / {one.negatives}"
        )


def _format_rows(variant: AuditedVariant) -> Iterator[str]:
    """Format a line for captions given and one for captions withheld."""
    yield variant.name
    if variant.refused:
        yield "  the audit refuses this model"
        return
    for captions in CAPTIONS:
        memorised = _of(variant, Group.MEMORISED)
        returned = sum((one.caption if captions == GIVEN else one.embedding).returned for one in memorised)
        verdicts = [_verdict(image, captions) for image in memorised]
        counts = [verdicts.count(verdict) for verdict in COLUMNS]
        held_out = _of(variant, Group.HELD_OUT)
        called = f"{sum(_verdict(image, captions) in CLAIMS for image in held_out)}/{len(held_out)}"
        back, other = f"{returned}/{len(memorised)}", len(verdicts) - sum(counts)
        yield f"  {captions:9}{back:>6}{_align(counts)}{other:6}{called:>9}"


def _verdict(image: AuditedImage, captions: str) -> Verdict:
    return image.verdict if captions == GIVEN else image.withheld


def _format_alarms(variant: AuditedVariant, usual: Sequence[SeenAlarm]) -> Iterator[str]:
    """Format the alarms that are not usual: of another kind, on more images, or another message on the run."""
    if variant.refused:
        yield from _wrap(f"{variant.name}: refused: {variant.refused}")
        return
    known = {alarm.code: alarm.images for alarm in usual if alarm.images}
    found = [alarm for alarm in variant.alarms if alarm not in usual and (alarm.images or 1) > known.get(alarm.code, 0)]
    for alarm in found:
        where = f"on {alarm.images} of {len(variant.images)} images" if alarm.images else "on the run"
        yield from _wrap(f"{variant.name}: {alarm.code} {where}: {alarm.message}")
    if not found:
        yield f"{variant.name}: none"


def _align(cells: Sequence[object]) -> str:
    """Put one cell under the heading of each verdict; of a heading of two words the longer one counts."""
    widths = [max(map(len, heading.split())) + 1 for heading in COLUMNS.values()]
    return "".join(f"{cell!s:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _wrap(text: str) -> Sequence[str]:
    return wrap_prose(ascii(text)[1:-1], "    ")


PROCEDURE = record_procedure(EvasionTable, measure_evasion, report_evasion, format_evasion)
