"""The benchmark of pruning: halves joined, goals from a made-up table, and a whole run with its commands answered."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from imgaudit.benchmark.methods import pruning
from imgaudit.benchmark.methods.pruning import (
    PruningTable,
    add_retentions,
    format_pruning,
    join_evaluations,
    measure_pruning,
    report_pruning,
)
from imgaudit.benchmark.mitigation_settings import PruningSettings
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription
from imgaudit.mitigation.evaluation import EvaluationSettings, ModelOutcome, PromptOutcome
from imgaudit.mitigation.evaluation_summary import EvaluationTable
from imgaudit.schema.comparison import Comparison, Retention
from imgaudit.schema.records import Skipped
from tests.benchmark.methods.test_prompt_scores import lab_image
from tests.conftest import tiny_recipe
from tests.support.wrapping import unwrap

NO_CLIP = Skipped(skipped="no CLIP")
NAMES = ("as it is", "pruned", "as-many-at-random")


def _prompt(name: str, close: float, error: float | None = None) -> PromptOutcome:
    return PromptOutcome(
        sha256=name, similarity=[close, 0.1], alignment=NO_CLIP, retrieved=NO_CLIP, aesthetic=NO_CLIP, unusable=0,
        error=error, response=error,
    )  # fmt: skip


def _evaluation(half: int, copied: Sequence[int], rise: float = 1.02, n: int = 30) -> EvaluationTable:
    return EvaluationTable(
        model="folder", settings=EvaluationSettings(images=2), clip=NO_CLIP, aesthetic=NO_CLIP, reference=NO_CLIP,
        hardware="here",
        models=[
            ModelOutcome(
                name=name, fingerprint="base" if name == NAMES[0] else f"{name} {half}", network_evaluations=10,
                seconds=1.5, triggers=[_prompt(f"{half}{place}", 0.99 if place < count else 0.2) for place in range(n)],
                general=[_prompt(f"g{half}{place}", 0.3, rise if name == NAMES[1] else 1.0) for place in range(5)],
            )
            for name, count in zip(NAMES, copied, strict=True)
        ],
    )  # fmt: skip


def _comparison(kept: int, reproduced: int) -> Comparison:
    retention = Retention(
        reproduced=reproduced, retained=kept, low=0.0, high=1.0, from_text_before=reproduced, from_text=1,
        by_inversion_only=kept - 1, by_rung=[],
    )  # fmt: skip
    return Comparison.model_construct(retention=retention)


def _table(**changes: Any) -> PruningTable:
    joined = join_evaluations(_evaluation(1, (30, 2, 29)), _evaluation(2, (30, 3, 30)))
    values: dict[str, Any] = {
        "lab": "m", "seed": 1, "share": 0.03, "located": (30, 30), "general": 5, "controls": 40, "hardware": "here",
        "commands": ["imgaudit mitigate locate-images"], "evaluation": joined,
        "audited": add_retentions([_comparison(20, 30), _comparison(25, 29)]),
    }  # fmt: skip
    return PruningTable(**values | changes)


def test_halves_are_counted_as_one() -> None:
    report = report_pruning(_table())
    assert [(row.reproduced.hits, row.reproduced.n) for row in report.figures.rows] == [(60, 60), (5, 60), (59, 60)]
    models = report.table.evaluation.models
    assert [one.fingerprint for one in models] == [
        "base",
        "pruned 1 pruned 2",
        "as-many-at-random 1 as-many-at-random 2",
    ]
    assert (models[1].network_evaluations, models[1].seconds, len(models[1].general)) == (20, 3.0, 10)
    audited = report.table.audited
    assert not isinstance(audited, Skipped)
    assert (audited.retained.hits, audited.retained.n, audited.from_text, audited.by_inversion_only) == (45, 59, 2, 43)
    exact = binomtest(45, 59).proportion_ci()
    assert (audited.retained.low, audited.retained.high) == pytest.approx((exact.low, exact.high))


def test_every_goal_is_judged_by_its_own_row() -> None:
    assert all(target.met for target in report_pruning(_table()).targets)
    for first, rise, hope in (
        ((20, 2, 29), 1.02, "as it is"),
        ((30, 9, 29), 1.02, "pruned, reproduced"),
        ((30, 2, 20), 1.02, "as many weights at random"),
        ((30, 2, 29), 1.2, "pruned, error"),
    ):
        joined = join_evaluations(_evaluation(1, first, rise), _evaluation(2, (30, 3, 30)))
        missed = [target.name for target in report_pruning(_table(evaluation=joined)).targets if not target.met]
        assert len(missed) == 1 and missed[0].startswith(hope)


def test_lines_say_how_much_comes_back_and_how() -> None:
    lines = list(format_pruning(report_pruning(_table())))
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("located") and "5 of 60 (2.8% to 18.4%)" in line for line in lines)
    assert "reproduces: 2 from text, 43 only by inversion" in unwrap(" ".join(lines))
    skipped = _table(audited=add_retentions([_comparison(1, 2), Comparison.model_construct(retention=NO_CLIP)]))
    assert "audited up to inversion: no CLIP" in list(format_pruning(report_pruning(skipped)))


def _lab(tmp_path: Path, memorised: int, held_out: int) -> Path:
    images = [lab_image(number, f"p{number}", "planted", 64) for number in range(memorised)]
    images += [lab_image(1000 + number, f"h{number}", "held_out", 0) for number in range(held_out)]
    LabDescription(recipe=tiny_recipe(name="made"), background_images=0, images=images).write(tmp_path / "lab.json")
    return tmp_path


def test_each_half_locates_once_and_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, copied, ran = _lab(tmp_path, 5, 20), dict[Path, set[str]](), list[tuple[str, Path]]()

    def copy(images: Sequence[Any], located: Any, folder: Path) -> None:
        folder.mkdir(parents=True)
        copied[folder] = {image.sha256 for image in images}

    def run(name: str, command: Sequence[str], work: Path) -> str:
        ran.append((name, work))
        if name == "evaluate":
            (work / "evaluation").mkdir()
            half = int(work.name[-1])
            written = _evaluation(half, (2, 1, 2), n=2).model_dump_json()
            (work / "evaluation" / "evaluation.json").write_text(written, encoding="utf-8")
        return json.dumps({}) if name == "compare" else ""

    monkeypatch.setattr(pruning, "copy_images", copy)
    monkeypatch.setattr(pruning, "run_once", run)
    monkeypatch.setattr(Comparison, "model_validate", lambda given: _comparison(1, 2))
    settings = PruningSettings(model=str(lab), images=tmp_path, out=tmp_path / "out", general=3, controls=8)
    table = measure_pruning(settings, lambda *_: None)
    first, second = (tmp_path / "out" / f"pruning-{half}" for half in (1, 2))
    assert copied[first / "located"] == copied[second / "judged"] and len(copied[first / "located"]) == 3
    assert copied[first / "judged"] == copied[second / "located"] and len(copied[first / "judged"]) == 2
    assert not copied[first / "located"] & copied[first / "judged"]
    groups = [
        copied[first / "general"],
        copied[second / "general"],
        copied[first / "retained"],
        copied[first / "controls"],
    ]
    assert len(set().union(*groups)) == sum(map(len, groups)) == 3 + 3 + 3 + 8
    assert copied[first / "retained"] == copied[second / "retained"]
    assert [name for name, _ in ran[:7]] == [name for name, _ in ran[7:]] and len(ran) == 14
    assert table.located == (3, 2) and str(tmp_path) not in "".join(table.commands)
    assert PruningTable.model_validate_json(table.model_dump_json()) == table


def test_labs_with_too_little_are_refused(tmp_path: Path) -> None:
    settings = {"images": tmp_path, "out": tmp_path / "out", "general": 3, "controls": 8}
    with pytest.raises(InputError, match="has memorised 1 images, and two halves are needed"):
        measure_pruning(PruningSettings(model=str(_lab(tmp_path, 1, 20)), **settings), lambda *_: None)
    with pytest.raises(InputError, match="holds out 16 images, but 17 are needed: 8 controls and 9 to measure"):
        measure_pruning(PruningSettings(model=str(_lab(tmp_path, 4, 16)), **settings), lambda *_: None)
