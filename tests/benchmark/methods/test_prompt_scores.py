"""The benchmark of prompt detection: its statistics from a table, and a table from a closed-form model."""

from pathlib import Path

import pytest
import torch

from imgaudit.benchmark.harness.cases import CaseCounts, Group
from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.methods.prompt_scores import (
    DESIGNS,
    PromptRow,
    PromptScoreTable,
    distinct_captions,
    format_prompt_scores,
    measure_prompt_scores,
    report_prompt_scores,
)
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.models import FiniteSetDenoiser
from imgaudit.models.loading import LoadedModel
from tests.conftest import tiny_recipe


def lab_image(number: int, text: str, role: str, reproduced: int = 0) -> LabImage:
    return LabImage(
        file_name=f"{number}.png", sha256=f"{number:064x}", text=text, role=role, repeats=0, exposures=0,
        exact_exposures=0, nearest_training_image="", nearest_similarity=0.0, reproduced=reproduced, truth_seeds=64,
    )  # fmt: skip


IMAGES = [
    *(lab_image(number, f"{number} picture", "planted", 64) for number in range(4)),
    *(lab_image(10 + number, f"thing {number + 90}", "held_out") for number in range(12)),
    lab_image(30, "0 picture", "held_out"),
]


def closed_form_lab(executor: Executor, **changes: object) -> LabWork:
    points = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    denoiser = FiniteSetDenoiser(points)
    for name, value in changes.items():
        setattr(denoiser, name, value)
    description = LabDescription(recipe=tiny_recipe(), background_images=0, images=IMAGES)
    lab = LabModel(Path(), description, LoadedModel(denoiser, "closed form", "FiniteSet", {}))
    return LabWork(lab, {}, Path(), 1, executor)


def test_captions_shared_by_groups_are_left_out() -> None:
    alone, left_out = distinct_captions(IMAGES)
    assert left_out == 1 and "0 picture" not in {image.text for image in alone}
    assert len(alone) == 15


def test_a_closed_form_memoriser_is_told_apart_by_every_detector() -> None:
    table = measure_prompt_scores(closed_form_lab(Executor(64)), CaseCounts(controls=1, held_out=12))
    report = report_prompt_scores(table)
    assert {one.auc for one in report.separations} == {1.0}
    assert all(one.rate == 1 for one in report.rates)
    assert report.targets and not any(target.met for target in report.targets), "so few images show no area of 0.95"
    assert table.evaluations["magnitude, first step, 4 seeds"] == 8
    assert table.evaluations["magnitude, all steps, 4 seeds"] == 400
    assert table.evaluations["sharpness, first step, 4 seeds"] == 24
    lines = list(format_prompt_scores(report))
    assert max(map(len, lines)) <= 80 and any("nothing fitted" in line for line in lines)


def test_rates_allow_less_than_one_per_cent_of_the_others() -> None:
    def row(number: int, group: Group, score: float) -> PromptRow:
        return PromptRow(sha256=f"{number:016x}", group=group, repeats=0, scores=dict.fromkeys(DESIGNS, score))

    for n, allowed in ((50, 0), (100, 0), (101, 1), (200, 1), (201, 2)):
        others = [row(number, Group.HELD_OUT, float(number)) for number in range(n)]
        # One memorised caption above each of the five highest others.
        found = [row(n + number, Group.MEMORISED, n - number - 0.5) for number in range(5)]
        table = PromptScoreTable(
            lab="x", seed=0, hardware="", evaluations=dict.fromkeys(DESIGNS, 0), left_out=0,
            spaces=dict.fromkeys(DESIGNS, "epsilon"), rows=[*others, *found],
        )  # fmt: skip
        assert report_prompt_scores(table).rates[0].hits == allowed + 1


def test_a_lab_without_a_null_branch_is_refused() -> None:
    with pytest.raises(InputError, match="distilled"):
        measure_prompt_scores(closed_form_lab(Executor(8), no_null="distilled"))
