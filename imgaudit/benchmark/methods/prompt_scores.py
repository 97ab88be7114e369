"""How well prompt detection separates captions of memorised images from other captions, on a lab model.

Needs captions only. Nothing of the method is fitted on any lab: settings are those of the published detectors.
"""

import math
from collections.abc import Iterator, Sequence

from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, group_of
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    Separation,
    format_goals,
    format_rates,
    format_separations,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork, on_lab
from imgaudit.benchmark.harness.procedure import record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.prompt_detection import detect_prompts
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabImage
from imgaudit.schema.detection import PromptDetection, PromptDetectionSettings
from imgaudit.schema.records import Record

SAMPLING_STEPS = 50
DESIGNS = {
    "magnitude, first step, 1 seed": PromptDetectionSettings(seeds=1, tokens=False),
    "magnitude, first step, 4 seeds": PromptDetectionSettings(seeds=4, tokens=False),
    "magnitude, all steps, 4 seeds": PromptDetectionSettings(steps=SAMPLING_STEPS, seeds=4, tokens=False),
    "sharpness, first step, 4 seeds": PromptDetectionSettings(detector="sharpness", seeds=4, tokens=False),
}
"""Settings by name; the trajectory has 50 steps and guidance 7.5, as published."""
GOALS = {"magnitude, first step, 4 seeds": 0.95, "magnitude, all steps, 4 seeds": 0.98}
"""The AUC aimed at."""


class PromptRow(Record):
    """A caption with its scores."""

    sha256: str
    """First 16 hexadecimal digits of the image."""
    group: Group
    """Of the image, by the lab."""
    repeats: int
    """Planted repeat count."""
    scores: dict[str, float]
    """Design to score; higher = more memorised."""


class PromptScoreTable(LabRecord, Table):
    """What was measured, committed with a lab."""

    long_lists = ("rows",)

    evaluations: dict[str, int]
    """Design to network evaluations per prompt."""
    left_out: int
    """Captions that stand for images of more than one group."""
    spaces: dict[str, str]
    """Design to the space it was measured in."""
    rows: list[PromptRow]
    """One per distinct caption."""


class PromptScoreReport(LabRecord):
    """All tables of `imgaudit benchmark prompt-detection`."""

    evaluations: dict[str, int]
    """Design to network evaluations per prompt."""
    spaces: dict[str, str]
    """Design to the space it was measured in."""
    left_out: int
    """Captions that stand for images of more than one group."""
    separations: list[Separation]
    """Areas under ROC curves."""
    rates: list[MeasuredRate]
    """Memorised captions above all but less than 1 % of the others."""
    targets: list[Goal]
    """Goals and outcomes."""


def distinct_captions(images: Sequence[LabImage]) -> tuple[list[LabImage], int]:
    """One image per caption, and how many captions are left out because images of several groups share them."""
    by_text: dict[str, list[LabImage]] = {}
    for image in images:
        by_text.setdefault(image.text, []).append(image)
    alone = [own[0] for own in by_text.values() if len({group_of(image) for image in own}) == 1]
    return alone, len(by_text) - len(alone)


def measure_prompt_scores(work: LabWork, counts: CaseCounts | None = None) -> PromptScoreTable:
    """Measure every design on the captions of memorised, seen-once and held-out images.

    Raises InputError when the model has no null branch.
    """
    denoiser, executor = work.denoiser, work.executor
    if denoiser.no_null:
        raise InputError(denoiser.no_null)
    chosen = choose_cases(work.lab.description, counts or CaseCounts())
    images, left_out = distinct_captions(chosen.of(Group.MEMORISED, Group.SEEN_ONCE, Group.HELD_OUT))
    scores: dict[str, list[float]] = {}
    evaluations, spaces = {}, {}
    for name, design in DESIGNS.items():
        settings = design.model_copy(update={"seed": work.seed})
        before = denoiser.network_evaluations
        found = []
        for done, one in enumerate(
            score_captions(denoiser, [image.text for image in images], settings, executor), start=1
        ):
            found.append(one)
            work.on_stage(name, done, len(images))
        scores[name] = [one.score for one in found]
        evaluations[name] = round((denoiser.network_evaluations - before) / len(images))
        spaces[name] = found[0].space
    rows = [
        PromptRow(
            sha256=image.sha256[:16], group=group_of(image), repeats=image.repeats,
            scores={name: float(f"{scores[name][number]:.4g}") for name in DESIGNS},
        )
        for number, image in enumerate(images)
    ]  # fmt: skip
    return PromptScoreTable(
        lab=work.lab.description.recipe.name, seed=work.seed, hardware=describe_hardware(denoiser),
        evaluations=evaluations, left_out=left_out, spaces=spaces, rows=rows,
    )  # fmt: skip


def score_captions(
    denoiser: Denoiser, texts: Sequence[str], settings: PromptDetectionSettings, executor: Executor
) -> list[PromptDetection]:
    """Measure captions, in order. Raises InputError when one cannot be measured."""
    found = []
    for one in detect_prompts(denoiser, texts, settings, executor=executor):
        if not isinstance(one, PromptDetection):
            raise InputError(f"a caption of the lab has no score: {one.skipped}")
        found.append(one)
    return found


def report_prompt_scores(table: PromptScoreTable) -> PromptScoreReport:
    """Compute the statistics of a table; no model is needed."""

    def of(group: Group, design: str) -> list[float]:
        return [row.scores[design] for row in table.rows if row.group is group]

    separations = [
        found
        for name in DESIGNS
        for other in (Group.HELD_OUT, Group.SEEN_ONCE)
        if (found := measure_separation(name, other, of(Group.MEMORISED, name), of(other, name)))
    ]
    rates = []
    for name in DESIGNS:
        negatives = sorted(of(Group.HELD_OUT, name), reverse=True)
        if not negatives:
            continue
        # As many held-out captions may lie above as are less than 1 % of them: Wen et al.'s convention.
        above = math.ceil(len(negatives) / 100) - 1
        rates.append(
            measure_rate(name, Group.MEMORISED, [score > negatives[above] for score in of(Group.MEMORISED, name)])
        )
    by_name = {one.name: one for one in separations if one.against == Group.HELD_OUT}
    targets = [
        Goal.at_least(f"AUC, {name}", found, goal) for name, goal in GOALS.items() if (found := by_name.get(name))
    ]
    return PromptScoreReport(
        lab=table.lab, seed=table.seed, hardware=table.hardware, evaluations=table.evaluations, spaces=table.spaces,
        left_out=table.left_out, separations=separations, rates=rates, targets=targets,
    )  # fmt: skip


def format_prompt_scores(report: PromptScoreReport) -> Iterator[str]:
    """Format separations with their cost, rates and goals."""
    yield f"lab {report.lab}, seed {report.seed}, {report.hardware}; nothing fitted"
    if report.left_out:
        yield f"{report.left_out} captions left out: they stand for images of several groups"
    yield ""
    separations = [
        one.model_copy(
            update={"name": f"{one.name} ({report.evaluations[one.name]} passes, in {report.spaces[one.name]})"}
        )
        for one in report.separations
    ]
    yield from format_separations("captions of memorised images", separations)
    yield ""
    yield from format_rates("above all but < 1 % of the held-out", report.rates)
    yield from format_goals(report.targets)


PROCEDURE = record_procedure(
    PromptScoreTable, on_lab(measure_prompt_scores), report_prompt_scores, format_prompt_scores
)
