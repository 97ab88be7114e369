"""Pruning by what the errors of images depend on, judged on images that did not locate the weights.

The memorised images of a lab are divided into halves by their hashes. Each half locates weights, and the other half
judges the pruned model, so that every memorised image is judged once by a mask it had no part in. Beside it stands a
mask of as many weights drawn at random. Other images, different ones in each half, tell what the pruning costs. Every
step is an `imgaudit` command; audits climb the ladder up to inversion.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases
from imgaudit.benchmark.harness.figures import Goal, format_commands, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.methods.lab_commands import copy_images, find_lab, run_once, split_halves
from imgaudit.benchmark.methods.mitigation_report import judge_rise, judge_share
from imgaudit.benchmark.mitigation_settings import PruningSettings
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabImage
from imgaudit.mitigation.evaluation import ModelOutcome
from imgaudit.mitigation.evaluation_summary import (
    EvaluationFigures,
    EvaluationTable,
    Share,
    count_share,
    format_percent,
    summarise,
)
from imgaudit.schema.comparison import Comparison
from imgaudit.schema.records import Record, Skipped
from imgaudit.schema.text import wrap_prose

PRUNED, RANDOM = "pruned", "as-many-at-random"
"""Folders of the changed models, and their names in the table."""


class AuditedPruning(Record):
    """What audits up to inversion find of the images that the audit of the model as it is reproduces."""

    retained: Share
    """Images that the pruned model reproduces too, by whatever rung."""
    from_text: int
    """Those that it reproduces from text."""
    by_inversion_only: int
    """Those that it reproduces only for what was inverted from the image."""


class PruningTable(Table):
    """What was measured, committed with a lab."""

    long_lists = ("commands",)

    lab: str
    """Lab model."""
    seed: int
    """Of everything that is drawn."""
    share: float
    """Share of all weights that a mask marks."""
    located: tuple[int, int]
    """Memorised images in each half."""
    general: int
    """Other images in each half, to measure the cost; and others, as many, to locate against."""
    controls: int
    """Control images given to every audit."""
    hardware: str
    """Machine."""
    commands: list[str]
    """What was run for a half, in order."""
    evaluation: EvaluationTable
    """Both halves in one, by captions alone."""
    audited: AuditedPruning | Skipped
    """Both halves in one, up to inversion."""


class PruningReport(Record):
    """What `imgaudit benchmark pruning` prints."""

    table: PruningTable
    """What it rests on."""
    figures: EvaluationFigures
    """The evaluation's figures."""
    targets: list[Goal]
    """Goals and outcomes."""


def measure_pruning(settings: PruningSettings, on_stage: OnStage) -> PruningTable:
    """Prune by each half, evaluate and audit the other, by the command line; finished steps are not done again.

    Raises InputError when the lab memorised fewer than two images or holds out too few, or when a command fails.
    """
    general = settings.general
    lab, base, located = find_lab(settings)
    cases = choose_cases(lab, CaseCounts(controls=settings.controls, held_out=3 * general, seen_once=0))
    halves, held_out = split_halves(cases.of(Group.MEMORISED)), cases.of(Group.HELD_OUT)
    if not halves[1]:
        raise InputError(f"lab {lab.recipe.name!r} has memorised {len(halves[0])} images, and two halves are needed")
    steps = list(_steps(base, settings))
    found = []
    for half, (locating, judged) in enumerate((halves, halves[::-1])):
        work = settings.out / f"pruning-{half + 1}"
        folders: dict[str, Sequence[LabImage]] = {
            "located": locating, "judged": judged, "general": held_out[half * general : (half + 1) * general],
            "retained": held_out[2 * general : 3 * general], "controls": cases.controls,
        }  # fmt: skip
        for name, members in folders.items():
            if not (work / name).is_dir():
                copy_images(members, located, work / name)
        said = {}
        for done, (name, command) in enumerate(steps):
            on_stage(f"half {half + 1}: {name}", half * len(steps) + done, 2 * len(steps))
            said[name] = run_once(name, command, work)
        found.append((_read_evaluation(work), Comparison.model_validate(json.loads(said["compare"]))))
    first, second = (evaluation for evaluation, _ in found)
    return PruningTable(
        lab=lab.recipe.name, seed=settings.seed, share=settings.share, located=(len(halves[0]), len(halves[1])),
        general=general, controls=settings.controls, hardware=describe_machine(),
        commands=[" ".join(["imgaudit", *("LAB/model" if part == base else part for part in one)]) for _, one in steps],
        evaluation=join_evaluations(first, second).model_copy(update={"model": lab.recipe.name}),
        audited=add_retentions([comparison for _, comparison in found]),
    )  # fmt: skip


def _read_evaluation(work: Path) -> EvaluationTable:
    return EvaluationTable.model_validate_json((work / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))


def _steps(base: str, settings: PruningSettings) -> Iterator[tuple[str, list[str]]]:
    """Yield name and command of every step for one half."""
    own, seeded, mask = ["--model", base], ["--seed", str(settings.seed), "--quiet"], "mask.safetensors"
    against = ["--retain", "retained", "--share", f"{settings.share:g}"]
    yield "locate", ["mitigate", "locate-images", "located", *own, *against, "--out", mask, *seeded]
    yield "prune", ["mitigate", "prune", mask, *own, "--out", PRUNED, "--quiet"]
    yield "prune at random", ["mitigate", "prune", mask, *own, "--random", "--out", RANDOM, *seeded]
    changed = [part for name in (PRUNED, RANDOM) for part in ("--mitigated-model", name)]
    sampling = ["--images", str(settings.pictures), "--guidance-scale", "3", "--num-inference-steps", "20"]
    yield "evaluate", [
        "mitigate", "evaluate", "judged", *own, "--general", "general", *changed, *sampling, "--out", "evaluation",
        *seeded,
    ]  # fmt: skip
    shared = ["--controls", "controls", "--effort", "quick", "--framing", "pad", *seeded]
    yield "audit", ["audit", "judged", *own, *shared, "--out", "audit"]
    yield "audit pruned", ["audit", "judged", "--model", PRUNED, *shared, "--out", "audit-pruned"]
    yield "compare", ["compare", "audit", "audit-pruned", "--format", "json", "--fail-on", "never"]


def join_evaluations(first: EvaluationTable, second: EvaluationTable) -> EvaluationTable:
    """Return one table of the prompts of two, model by model; what both were measured with is the same."""
    models = [
        ModelOutcome(
            name=one.name, fingerprint=" ".join(dict.fromkeys([one.fingerprint, other.fingerprint])),
            triggers=[*one.triggers, *other.triggers], general=[*one.general, *other.general],
            network_evaluations=one.network_evaluations + other.network_evaluations,
            seconds=one.seconds + other.seconds,
        )
        for one, other in zip(first.models, second.models, strict=True)
    ]  # fmt: skip
    return first.model_copy(update={"models": models})


def add_retentions(comparisons: Sequence[Comparison]) -> AuditedPruning | Skipped:
    """Return what is retained over several comparisons; Skipped with the reason of the first that has none."""
    kept, reproduced, from_text, by_inversion = 0, 0, 0, 0
    for one in comparisons:
        if isinstance(one.retention, Skipped):
            return one.retention
        kept, reproduced = kept + one.retention.retained, reproduced + one.retention.reproduced
        from_text, by_inversion = from_text + one.retention.from_text, by_inversion + one.retention.by_inversion_only
    return AuditedPruning(retained=count_share(kept, reproduced), from_text=from_text, by_inversion_only=by_inversion)


def report_pruning(table: PruningTable) -> PruningReport:
    """Compute figures and goals; no model is needed."""
    figures = summarise(table.evaluation)
    base, pruned, random = figures.rows
    targets = [
        judge_share("as it is, reproduced", base, least=0.9),
        judge_share("pruned, reproduced", pruned, most=0.2),
        judge_rise(pruned, most=0.05),
        judge_share("as many weights at random, reproduced", random, least=0.9),
    ]
    return PruningReport(table=table, figures=figures, targets=targets)


def format_pruning(report: PruningReport) -> Iterator[str]:
    """Format what was run, what captions and audits still return, and goals."""
    table, settings = report.table, report.table.evaluation.settings
    yield from wrap_prose(
        f"lab {table.lab}: {table.located[0]} and {table.located[1]} memorised images; each half locates, the other "
        f"is judged; seed {table.seed}"
    )
    yield from wrap_prose(
        f"{table.share:.1%} of all weights, located against {table.general} other images; {settings.images} pictures a "
        f"prompt, guidance {settings.guidance_scale:g}, {settings.num_inference_steps} steps"
    )
    yield f"{table.controls} controls of every audit; {table.hardware}"
    yield ""
    yield from format_commands(table.commands)
    yield ""
    named = list(zip(("nothing", "located", "as many at random"), report.figures.rows, strict=True))
    yield f"{'set to zero':20}returned for captions"
    yield from (f"{name:20}{row.reproduced}" for name, row in named)
    yield ""
    yield f"{'set to zero':20}{'error, other images':28}response to prompts"
    for name, row in named:
        rise, left = (format_percent(one, kind) for one, kind in ((row.error_rise, "+.1%"), (row.response_left, ".0%")))
        yield f"{name:20}{rise:28}{left}"
    yield ""
    if isinstance(table.audited, Skipped):
        yield f"audited up to inversion: {table.audited.skipped}"
    else:
        yield from wrap_prose(
            f"audited up to inversion, the pruned model reproduces {table.audited.retained} of what the model as it is "
            f"reproduces: {table.audited.from_text} from text, {table.audited.by_inversion_only} only by inversion"
        )
    yield from wrap_prose(
        f"A copy is a picture of similarity above {report.figures.threshold:.3f}: above 0.9, and above all of "
        f"{report.figures.controls} other prompts."
    )
    yield from format_goals(report.targets)


PROCEDURE = record_procedure(PruningTable, measure_pruning, report_pruning, format_pruning)
