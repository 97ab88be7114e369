"""A LoRA that memorises, caught as a user would: audit the base, audit base and LoRA, compare the two runs."""

import json
from collections.abc import Iterator, Mapping, Sequence

from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    format_commands,
    format_goals,
    format_rates,
    measure_rate,
)
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, ignore_stage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.methods.lab_commands import copy_images, find_lab, run_command
from imgaudit.benchmark.settings import LoraSettings
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabImage
from imgaudit.schema.comparison import REPRODUCED, Change, Comparison, ImageSide
from imgaudit.schema.text import wrap_prose

IN_LORA, ELSEWHERE, IN_BASE = "in the LoRA", "neither was trained on", "memorised by the base"
"""Groups of images."""


class LoraReport(Table):
    """What became of every group of images from the base to base and LoRA."""

    long_lists = ("commands", "rates", "targets")

    lab: str
    """Lab whose model is the base."""
    seed: int
    """Of the LoRA and of the audits."""
    rank: int
    """Of the LoRA."""
    steps: int
    """Optimiser steps of the LoRA."""
    controls: int
    """Controls in the bank of either run."""
    hardware: str
    """Machine."""
    commands: list[str]
    """What was run, in order."""
    rates: list[MeasuredRate]
    """How many images of a group each run reproduces, and how many `compare` calls what."""
    changes: dict[str, dict[Change, int]]
    """By group, how many images are in each state of the comparison."""

    @property
    def targets(self) -> list[Goal]:
        """Goals and outcomes."""
        of = {(one.group, one.name): one for one in self.rates}
        return [
            Goal.at_least("images in the LoRA that appear", of[IN_LORA, "appeared"], 0.9),
            Goal.within_level("images in neither that appear", of[ELSEWHERE, "appeared"], 0.05),
        ]


def measure_lora(settings: LoraSettings, on_stage: OnStage = ignore_stage) -> LoraReport:
    """Train a LoRA on held-out images of a lab, audit both models by the command line, and compare.

    Raises InputError when the lab holds out too few images, or when a command fails, with what it said.
    """
    seed, planted, others, work = settings.seed, settings.planted, settings.others, settings.out / "lora"
    lab, base, located = find_lab(settings)
    cases = choose_cases(lab, CaseCounts(controls=settings.controls, held_out=planted + others, seen_once=0))
    held_out = cases.of(Group.HELD_OUT)
    groups = {
        IN_LORA: held_out[:planted],
        ELSEWHERE: held_out[planted:],
        IN_BASE: cases.of(Group.MEMORISED)[:others],
    }
    copy_images(groups[IN_LORA], located, work / "in-lora")
    copy_images([image for images in groups.values() for image in images], located, work / "portfolio")
    copy_images(cases.controls, located, work / "controls")
    shared = ["--effort", "quick", "--framing", "pad", "--seed", str(seed), "--quiet"]
    adding = ["--lora", "lora"]
    commands = [
        ["lab", "lora", base, "--images", "in-lora", "--out", "lora", "--rank", str(settings.rank), "--steps",
         str(settings.steps),
         "--seed", str(seed), "--quiet"],
        ["audit", "portfolio", "--model", base, "--controls", "controls", "--out", "base", *shared],
        ["audit", "portfolio", "--model", base, *adding, "--controls", "controls", "--out", "base-and-lora", *shared],
        ["compare", "base", "base-and-lora", "--format", "json", "--fail-on", "never"],
    ]  # fmt: skip
    said = ""
    for done, command in enumerate(commands):
        on_stage(" ".join(command[:2]), done, len(commands))
        said = run_command(command, work)
    comparison = Comparison.model_validate(json.loads(said))
    return report_lora(
        comparison, groups, lab=lab.recipe.name, settings=settings,
        commands=[" ".join(["imgaudit", *command]) for command in commands],
    )  # fmt: skip


def report_lora(
    comparison: Comparison,
    groups: Mapping[str, Sequence[LabImage]],
    *,
    lab: str,
    settings: LoraSettings,
    commands: list[str],
) -> LoraReport:
    """Count a comparison by groups of images. Raises InputError when it lacks one, which would count as not found."""
    images = {image.sha256: image for image in comparison.images}
    if lost := [one.file_name for members in groups.values() for one in members if one.sha256 not in images]:
        raise InputError(
            f"{len(lost)} images are in neither run (such as {lost[0]!r}): see what their reports say of it"
        )
    rates, changes = [], {}
    for group, members in groups.items():
        own = [images[member.sha256] for member in members]
        for name, sides in (
            ("reproduced by the base", [image.a for image in own]),
            ("reproduced by base and LoRA", [image.b for image in own]),
        ):
            rates.append(
                measure_rate(name, group, [isinstance(s, ImageSide) and s.verdict in REPRODUCED for s in sides])
            )
        rates.append(measure_rate("appeared", group, [image.change is Change.APPEARED for image in own]))
        rates.append(measure_rate("rates differ (q)", group, [image.rates_differ for image in own]))
        states = [image.change for image in own]
        changes[group] = {change: states.count(change) for change in Change if change in states}
    return LoraReport(
        lab=lab, seed=settings.seed, rank=settings.rank, steps=settings.steps,
        controls=comparison.b.controls, hardware=describe_machine(),
        commands=commands, rates=rates, changes=changes,
    )  # fmt: skip


def format_lora(report: LoraReport) -> Iterator[str]:
    """Format what was run, rates per group, states of the comparison, and goals."""
    yield from wrap_prose(
        f"lab {report.lab}, LoRA of rank {report.rank} after {report.steps} steps, seed {report.seed}, "
        f"{report.controls} controls in either bank, {report.hardware}"
    )
    yield ""
    yield from format_commands(report.commands)
    yield ""
    yield from format_rates("what of", report.rates)
    yield ""
    for group, states in report.changes.items():
        changes = ", ".join(f"{count} {change.value}" for change, count in states.items())
        yield from wrap_prose(f"{group:28}{changes}", " " * 28)
    yield from format_goals(report.targets)


PROCEDURE = report_procedure(LoraReport, measure_lora, format_lora)
