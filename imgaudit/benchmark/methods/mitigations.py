"""Mitigations put to the test as a user would: half of the memorised images locate, the other half judge, then audits.

    located      memorised images that locate the weights to be pruned: by their captions, and by their own errors
    judged       the other memorised images: trigger prompts of the evaluation, targets of the audits
    general      held-out images that nothing else uses: general prompts
    retained     further held-out images, on which fine-tuning and locating by errors keep the model as it was
    controls     further held-out images, for the banks of all audits

Every step is an `imgaudit` command, printed with the results. The evaluation asks with captions alone; the audits climb
the ladder up to inversion, through the mitigation.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import cast

from imgaudit.benchmark.harness.cases import CaseCounts, Cases, Group, choose_cases
from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine, open_lab
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.methods.lora import copy_images, find_lab, run_command
from imgaudit.benchmark.methods.mask_overlap import (
    MaskOverlap,
    format_mask_overlap,
    measure_mask_overlap,
    read_captioned_images,
)
from imgaudit.benchmark.settings import MitigationSettings
from imgaudit.exceptions import InputError
from imgaudit.io.writing import write_json
from imgaudit.lab.description import LabImage
from imgaudit.mitigation.evaluation_summary import (
    EvaluationFigures,
    EvaluationTable,
    MitigationFigures,
    Share,
    figure_lines,
    summarise,
)
from imgaudit.mitigation.importance import ImportanceSettings
from imgaudit.mitigation.pruning import PipelineDenoiser
from imgaudit.models.loading import BUNDLED
from imgaudit.schema.comparison import Comparison, Retention
from imgaudit.schema.records import Record, Skipped
from imgaudit.statistics import Interval, newcombe

PRUNED, RANDOM, TUNED = "pruned", "random-mask", "fine-tuned"
"""Folders of changed models."""
MORE = "0.6"
"""Sparsity of a second pruning, far beyond the published 1 %: chosen on the lab `fit`."""
MORE_PRUNED, MORE_RANDOM = "pruned-more", "random-more"
"""Its folders."""
SHARE = "0.03"
"""Share of all weights that is pruned by what images' errors depend on: chosen on the lab `fit`."""
ERRORS_PRUNED, ERRORS_RANDOM = "pruned-by-errors", "random-by-errors"
"""Its folders."""
CHANGED = (PRUNED, RANDOM, MORE_PRUNED, MORE_RANDOM, ERRORS_PRUNED, ERRORS_RANDOM, TUNED)
LONGER = "descent:iterations=30"
"""The descent, three times as long as published: tried on the lab `fit`."""
INFERENCE = ("descent", LONGER, "random-tokens", "attention")
"""Inference-time mitigations, else with their defaults, which are the published ones."""
AUDITED = (PRUNED, ERRORS_PRUNED, TUNED, LONGER)
"""Mitigations that audits look through."""


class MitigationTable(Table):
    """What was measured, committed with a lab."""

    long_lists = ("commands",)

    lab: str
    """Lab model."""
    seed: int
    """Of everything that is drawn."""
    located: int
    """Memorised images that located what was pruned."""
    controls: int
    """Control images given to every audit."""
    hardware: str
    """Machine."""
    commands: list[str]
    """What was run, in order."""
    evaluation: EvaluationTable
    """Both scenarios, by captions alone."""
    located_reproduced: dict[str, Share]
    """Model to how many of the images that located the weights it reproduces for their captions."""
    overlap: MaskOverlap
    """Weights that masks of different images have in common."""
    retention: dict[str, Retention | Skipped]
    """Mitigation to what audits through it still reproduce of what the audit of the model as it is reproduces."""


class MitigationReport(Record):
    """What `imgaudit benchmark mitigations` prints."""

    table: MitigationTable
    """What it rests on."""
    figures: EvaluationFigures
    """The evaluation's figures."""
    targets: list[Goal]
    """Goals and outcomes."""


def split_halves(images: Sequence[LabImage]) -> tuple[list[LabImage], list[LabImage]]:
    """Memorised images in order of SHA-256, every other one: those that locate, and those that judge."""
    ordered = sorted(images, key=lambda image: image.sha256)
    return ordered[::2], ordered[1::2]


def measure_mitigations(settings: MitigationSettings, on_stage: OnStage) -> MitigationTable:
    """Locate, prune, fine-tune, evaluate, audit and compare by the command line; finished steps are not done again.

    Raises InputError when the lab holds out too few images, or when a command fails, with what it said.
    """
    seed, general, clip, work = settings.seed, settings.general, settings.clip, settings.out / "mitigations"
    lab, base, located = find_lab(settings)
    cases = choose_cases(lab, CaseCounts(controls=settings.controls, held_out=2 * general, seen_once=0))
    held_out, (locating, judged) = cases.of(Group.HELD_OUT), split_halves(cases.of(Group.MEMORISED))
    work.mkdir(parents=True, exist_ok=True)
    for name, members in (
        ("located", locating), ("judged", judged), ("general", held_out[:general]), ("retained", held_out[general:]),
        ("controls", cases.controls),
    ):  # fmt: skip
        if not (work / name).is_dir():
            copy_images(members, located, work / name)
    lines = "".join(json.dumps({"prompt": image.text}) + "\n" for image in locating)
    (work / "located.jsonl").write_text(lines, encoding="utf-8")
    steps = list(_steps(base, settings.pictures, seed, clip))
    said: dict[str, str] = {}
    for done, (name, command) in enumerate(steps):
        on_stage(name, done, len(steps))
        said[name] = _once(name, command, work)
    overlap = _measure_overlap(settings, cases, located, on_stage)
    retention = {name: Comparison.model_validate(json.loads(said[f"compare {name}"])).retention for name in AUDITED}
    own = EvaluationFigures.model_validate(json.loads(said["evaluate located"]))
    kept = (work / "evaluation" / "evaluation.json").read_text(encoding="utf-8")
    # The folder that the model lies in is this machine's; the fingerprint says which model it is.
    evaluation = EvaluationTable.model_validate(json.loads(kept))
    return MitigationTable(
        lab=lab.recipe.name, seed=seed, located=len(locating), controls=settings.controls, hardware=describe_machine(),
        commands=[" ".join(["imgaudit", *_without_paths(command, base, clip)]) for _, command in steps],
        evaluation=evaluation.model_copy(update={"model": lab.recipe.name}),
        located_reproduced={row.name: row.reproduced for row in own.rows}, overlap=overlap, retention=retention,
    )  # fmt: skip


def _measure_overlap(
    settings: MitigationSettings, cases: Cases, located: Mapping[str, Path], on_stage: OnStage
) -> MaskOverlap:
    """Compare masks of halves of the memorised images, now or when the benchmark was interrupted after it."""
    kept, held_out, general = settings.out / "mitigations" / "overlap.json", cases.of(Group.HELD_OUT), settings.general
    if not kept.is_file():
        denoiser = cast(PipelineDenoiser, open_lab(settings.model, "auto").loaded.denoiser)
        memorised, untrained, retained = (
            read_captioned_images(images, located, denoiser.resolution)
            for images in (cases.of(Group.MEMORISED), held_out[:general], held_out[general:])
        )
        found = measure_mask_overlap(
            denoiser, memorised, untrained, retained,
            ImportanceSettings(share=float(SHARE), seed=settings.seed), on_progress=partial(on_stage, "compare halves"),
        )  # fmt: skip
        write_json(kept, found.model_dump(mode="json"))
    return MaskOverlap.model_validate_json(kept.read_text(encoding="utf-8"))


def _steps(base: str, images: int, seed: int, clip: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Yield name and command of every step."""
    own = ["--model", base]
    seeded = ["--seed", str(seed), "--quiet"]
    sampling = ["--images", str(images), "--guidance-scale", "3", "--num-inference-steps", "20"]
    yield "locate", ["mitigate", "locate", "located.jsonl", *own, "--out", "mask.safetensors", *seeded]
    yield "prune", ["mitigate", "prune", "mask.safetensors", *own, "--out", PRUNED, "--quiet"]
    yield "prune at random", ["mitigate", "prune", "mask.safetensors", *own, "--random", "--out", RANDOM, *seeded]
    more = "more.safetensors"
    yield "locate more", ["mitigate", "locate", "located.jsonl", *own, "--sparsity", MORE, "--out", more, *seeded]
    yield "prune more", ["mitigate", "prune", more, *own, "--out", MORE_PRUNED, "--quiet"]
    yield "prune more at random", ["mitigate", "prune", more, *own, "--random", "--out", MORE_RANDOM, *seeded]
    found, others = "important.safetensors", ["--retain", "retained", "--share", SHARE]
    yield "locate by errors", ["mitigate", "locate-images", "located", *own, *others, "--out", found, *seeded]
    yield "prune by errors", ["mitigate", "prune", found, *own, "--out", ERRORS_PRUNED, "--quiet"]
    yield "prune as many at random", ["mitigate", "prune", found, *own, "--random", "--out", ERRORS_RANDOM, *seeded]
    yield "fine-tune", ["mitigate", "fine-tune", "judged", *own, "--retain", "retained", "--out", TUNED, *seeded]
    shared = ["--controls", "controls", "--effort", "quick", "--framing", "pad", *seeded]
    yield "audit as it is", ["audit", "judged", *own, *shared, "--out", "audit"]
    for name in AUDITED:
        given = ["--model", name] if name not in INFERENCE else [*own, "--mitigation", name]
        folder = f"audit-{name.partition(':')[0]}"
        yield f"audit {name}", ["audit", "judged", *given, *shared, "--out", folder]
        yield f"compare {name}", ["compare", "audit", folder, "--format", "json", "--fail-on", "never"]
    evaluated = [part for name in INFERENCE for part in ("--mitigation", name)]
    evaluated += [part for name in CHANGED for part in ("--mitigated-model", name)]
    judge = ["--clip", str(clip.resolve())] if clip else []
    by_errors = ["--mitigated-model", ERRORS_PRUNED, "--mitigated-model", ERRORS_RANDOM]
    yield "evaluate located", [
        "mitigate", "evaluate", "located", *own, "--general", "general", *by_errors, *sampling, "--json", "--out",
        "evaluation-located", *seeded,
    ]  # fmt: skip
    yield "evaluate", [
        "mitigate", "evaluate", "judged", *own, "--general", "general", *evaluated, *sampling, *judge, "--out",
        "evaluation", *seeded,
    ]  # fmt: skip


def _once(name: str, command: Sequence[str], work: Path) -> str:
    """Return what a command printed, now or when the benchmark was interrupted after it."""
    kept = work / "said" / f"{re.sub('[^a-z]+', '-', name)}.txt"
    if not kept.is_file():
        said = run_command(command, work)
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(said, encoding="utf-8")
    return kept.read_text(encoding="utf-8")


def _without_paths(command: Sequence[str], base: str, clip: Path | None) -> list[str]:
    """The command with the folders of this machine replaced by what they are."""
    places = {base: base if base in BUNDLED else "LAB/model"} | ({str(clip.resolve()): "CLIP"} if clip else {})
    return [places.get(part, part) for part in command]


def report_mitigations(table: MitigationTable) -> MitigationReport:
    """Compute figures and goals. Raises InputError for a table that lacks a mitigation."""
    figures = summarise(table.evaluation)
    rows = {row.name: row for row in figures.rows}
    if missing := [name for name in (*CHANGED, *INFERENCE) if name not in rows]:
        raise InputError(f"the table has no row {missing[0]!r}")
    base, pruned, descent = figures.rows[0], rows[PRUNED], rows[LONGER]
    targets = [
        _share("as it is, reproduced", base, least=0.9),
        _share("pruned, reproduced", pruned, most=0.2),
        _small_rise(pruned),
        _share("random mask of the same density, reproduced", rows[RANDOM], least=0.8),
        _share(f"pruned at {MORE}, reproduced", rows[MORE_PRUNED], most=0.2),
        _small_rise(rows[MORE_PRUNED]),
        _share("random mask of that density, reproduced", rows[MORE_RANDOM], least=0.8),
        _share(f"pruned by errors at {SHARE}, reproduced", rows[ERRORS_PRUNED], most=0.2),
        _small_rise(rows[ERRORS_PRUNED], most=0.05),
        _share("random mask of as many weights, reproduced", rows[ERRORS_RANDOM], least=0.9),
        _share("descent as published, reproduced", rows["descent"], most=0.1),
        _share("descent of 30 iterations, reproduced", descent, most=0.1),
        _kept_alignment(base, descent),
        *_ordering(rows, table.retention),
    ]  # fmt: skip
    return MitigationReport(table=table, figures=figures, targets=targets)


def _share(name: str, row: MitigationFigures, *, least: float | None = None, most: float | None = None) -> Goal:
    if least is not None:
        return Goal.at_least(name, row.reproduced, least)
    return Goal.at_most(name, row.reproduced, most or 0.0)


def _small_rise(row: MitigationFigures, *, most: float = 0.1) -> Goal:
    name, wanted, rise = f"{row.name}, error on clean images", f"upper bound <= +{most:.0%}", row.error_rise
    if isinstance(rise, Skipped):
        return Goal.unmeasured(name, wanted, f"not measured: {rise.skipped}")
    got = f"{rise.mean:+.1%} ({rise.low:+.1%} to {rise.high:+.1%})"
    return Goal.at_most(name, rise, most, wanted=wanted, got=got)


def _kept_alignment(base: MitigationFigures, row: MitigationFigures) -> Goal:
    name, wanted = f"{row.name}, general prompts retrieved, of what the model as it is retrieves", "lower bound >= 70%"
    before, after = base.general_retrieved, row.general_retrieved
    if isinstance(before, Skipped) or isinstance(after, Skipped):
        return Goal.unmeasured(name, wanted, "not measured: no CLIP")
    kept = after.mean / before.mean if before.mean else 0.0
    # Both ends against each other: wider than 95 %, and right however the two means depend on each other.
    ends = Interval(after.low / before.high if before.high else 0.0, after.high / before.low if before.low else inf)
    got = f"{kept:.0%} ({ends.low:.0%} to {ends.high:.0%}), {after} of {before}"
    return Goal.at_least(name, ends, 0.7, wanted=wanted, got=got)


def _ordering(rows: Mapping[str, MitigationFigures], retention: Mapping[str, Retention | Skipped]) -> list[Goal]:
    """DoRI's finding (arXiv 2507.16880): pruning hides, inversion brings back, adversarial fine-tuning holds."""
    found = {name: (one.retained, one.reproduced) for name, one in retention.items() if not isinstance(one, Skipped)}
    if missing := [name for name in (PRUNED, ERRORS_PRUNED, TUNED) if name not in found]:
        return [Goal.unmeasured("ordering after inversion", "pruned above fine-tuned", f"{missing[0]}: not measured")]
    goals = []
    for name in (PRUNED, ERRORS_PRUNED):
        captions = (rows[name].reproduced.hits, rows[name].reproduced.n)
        goals += [
            _above(f"{name}, retained after inversion", "above its captions", found[name], captions),
            _above(f"{name}, ordering after inversion", "above fine-tuned", found[name], found[TUNED]),
        ]
    return goals


def _above(name: str, wanted: str, higher: tuple[int, int], lower: tuple[int, int]) -> Goal:
    """Judge whether one rate (hits, n) lies above another by Newcombe's interval of their difference."""
    (hits, n), (others, m) = higher, lower
    difference = newcombe(others, m, hits, n)
    got = (
        f"{hits / n:.2f} and {others / m:.2f}, difference {hits / n - others / m:+.2f} "
        f"({difference.low:+.2f} to {difference.high:+.2f})"
    )
    return Goal.at_least(name, difference, 0.0, wanted=f"{wanted}, lower bound of the difference >= 0", got=got)


def format_mitigations(report: MitigationReport) -> Iterator[str]:
    """Format what was run, both scenarios, what audits still reproduce, and goals."""
    measured, first = report.table, report.figures.rows[0]
    settings = measured.evaluation.settings
    yield (
        f"lab {measured.lab}, {measured.located} memorised images locate, {first.reproduced.n} others judge, "
        f"{measured.controls} controls, seed {measured.seed}"
    )
    yield (
        f"{settings.images} pictures a prompt, guidance {settings.guidance_scale:g}, {settings.num_inference_steps} "
        f"steps; {measured.hardware}"
    )
    yield ""
    yield from measured.commands
    yield ""
    yield from figure_lines(report.figures)
    yield ""
    yield "audited up to inversion        retained of what the audit of the model as it is reproduces"
    for name, found in measured.retention.items():
        if isinstance(found, Skipped):
            yield f"{name:30} {found.skipped}"
            continue
        yield (
            f"{name:30} {found.retained} of {found.reproduced} ({found.low:.1%} to {found.high:.1%}): "
            f"{found.from_text} from text, {found.by_inversion_only} only by inversion"
        )
    yield ""
    yield "images that located the weights by errors: reproduced for their captions"
    yield from (f"{name:30} {share}" for name, share in measured.located_reproduced.items())
    yield ""
    yield from format_mask_overlap(measured.overlap)
    yield from format_goals(report.targets)


PROCEDURE = record_procedure(MitigationTable, measure_mitigations, report_mitigations, format_mitigations)
