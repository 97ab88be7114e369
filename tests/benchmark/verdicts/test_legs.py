"""What an audit finds of whole copies and of layouts, by each choice of legs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.verdicts import legs_audit
from imgaudit.benchmark.verdicts.legs import LegTable, format_legs, report_legs
from imgaudit.benchmark.verdicts.legs_audit import Decided, LegRow, Legs, Truth, judge_truth
from imgaudit.cli import app
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import write_corpus
from imgaudit.lab.description import LabImage
from imgaudit.lab.examination import describe_lab
from imgaudit.lab.layout_corpus import LayoutCounts, build_layout_corpus
from imgaudit.lab.training import save_pipeline, train_lab
from imgaudit.models import load_model
from imgaudit.schema.findings import Verdict
from imgaudit.schema.pairs import Region
from imgaudit.similarity import matcher
from tests.conftest import tiny_recipe
from tests.lab.test_layout_corpus import make_drawings
from tests.similarity.test_matcher import Named


def row(number: int, truth: Truth, pixels: Verdict, either: Verdict, overlap: float | None = None) -> LegRow:
    decided = {
        Legs.PIXELS: Decided(verdict=pixels), Legs.DESCRIPTOR: Decided(verdict=either),
        Legs.EITHER: Decided(verdict=either, overlap=overlap),
    }  # fmt: skip
    return LegRow(
        sha256=f"{number:016x}", truth=truth, repeats=1, decided=decided, rendering={"pixel": 0.9, "sscd": 0.8},
        seconds=11.0, network_evaluations=100, descriptor_seconds=1.0 if number < 3 else None,
    )  # fmt: skip


def table(*rows: LegRow) -> LegTable:
    return LegTable(
        lab="x", seed=1, hardware="a machine", level=0.05, descriptor="sscd: weights", controls=240,
        protocol_hash="f" * 64, rows=list(rows),
    )  # fmt: skip


def test_rates_are_of_the_verdicts_of_each_choice_of_legs() -> None:
    nothing, whole, part = Verdict.NOT_REPRODUCED, Verdict.REPLICATED_BY_INVERSION, Verdict.PARTIAL
    report = report_legs(
        table(
            row(0, Truth.WHOLE, nothing, whole), row(1, Truth.WHOLE, whole, whole),
            row(2, Truth.LAYOUT, nothing, part, 0.9), row(3, Truth.LAYOUT, nothing, part, 0.6),
            row(4, Truth.ALIKE, nothing, part), row(5, Truth.HELD_OUT, nothing, nothing),
        )
    )  # fmt: skip
    counted = {
        legs: {(one.name, one.group): (one.hits, one.n) for one in rates} for legs, rates in report.rates.items()
    }
    assert counted[Legs.PIXELS]["called replicated", "memorised whole"] == (1, 2)
    assert counted[Legs.EITHER]["called replicated", "memorised whole"] == (2, 2)
    assert counted[Legs.PIXELS]["called partial", "layout memorised"] == (0, 2)
    assert counted[Legs.EITHER]["called partial", "layout memorised"] == (2, 2)
    assert counted[Legs.EITHER]["region, IoU >= 0.7", "layouts called partial"] == (1, 2)
    assert counted[Legs.EITHER]["called anything", "alike, not copied"] == (1, 1)
    assert counted[Legs.EITHER]["called anything", "held out"] == (0, 1)
    assert report.rendering == pytest.approx({"pixel": 0.9, "sscd": 0.8})
    assert report.time_ratio == pytest.approx((1.1, 1.1)) and report.timed == 3
    assert not any(goal.met for goal in report.targets[:-1]) and report.targets[-1].met
    assert all(len(line) <= 80 for line in format_legs(report))


def test_goals_are_met_by_the_bound_that_could_fall_short() -> None:
    rows = [row(n, Truth.WHOLE, Verdict.REPLICATED, Verdict.REPLICATED) for n in range(36)]
    rows += [row(40 + n, Truth.LAYOUT, Verdict.PARTIAL, Verdict.PARTIAL, 0.9) for n in range(36)]
    rows += [row(80 + n, Truth.HELD_OUT, Verdict.NOT_REPRODUCED, Verdict.NOT_REPRODUCED) for n in range(150)]
    rows += [row(300 + n, Truth.ALIKE, Verdict.NOT_REPRODUCED, Verdict.NOT_REPRODUCED) for n in range(50)]
    rows += [row(400 + n, Truth.UNSEEN_LAYOUT, Verdict.NOT_REPRODUCED, Verdict.NOT_REPRODUCED) for n in range(48)]
    assert all(goal.met for goal in report_legs(table(*rows)).targets)


@pytest.mark.parametrize(
    ("role", "reproduced", "layouts", "expected"),
    [
        ("planted", 40, 0, Truth.WHOLE), ("planted", 31, 0, Truth.PLANTED), ("template", 0, 60, Truth.LAYOUT),
        ("template", 50, 60, Truth.WHOLE), ("template", 0, 10, Truth.PLANTED), ("alike", 0, 0, Truth.ALIKE),
        ("held_out", 0, 0, Truth.HELD_OUT), ("held_out", 0, -1, Truth.UNSEEN_LAYOUT),
        ("seen_once", 1, 0, Truth.SEEN_ONCE),
    ],
)  # fmt: skip
def test_truth_is_the_labs_own(role: Any, reproduced: int, layouts: int, expected: Truth) -> None:
    image = LabImage(
        file_name="a.png", sha256="0" * 64, text="a", role=role, repeats=1, exposures=1, exact_exposures=1,
        nearest_training_image="b.png", nearest_similarity=0.1, reproduced=reproduced,
        layouts_reproduced=max(0, layouts), region=Region.of(np.ones((4, 4), dtype=bool)) if layouts < 0 else None,
        truth_seeds=64,
    )  # fmt: skip
    assert judge_truth(image) is expected


def test_a_lab_with_layouts_is_audited_and_decided_by_all_legs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "COPY_DESCRIPTOR_SIDE", 16)
    monkeypatch.setattr(matcher, "load_descriptor", lambda name, weights=None, device="cpu": Named(name))
    matcher._load_copy_descriptor.cache_clear()
    counts = LayoutCounts(
        alike=1, planted=2, planted_repeats=(1,), layouts=1, variations=2, layout_repeats=(1,), seen_once=1, held_out=9
    )
    corpus, lab = tmp_path / "corpus", tmp_path / "lab"
    entries = build_layout_corpus(make_drawings(tmp_path / "drawings", 27), corpus, 16, 7, counts)
    write_corpus(entries, corpus)
    recipe = tiny_recipe()
    trained = train_lab(entries, recipe, lab)
    save_pipeline(trained.pipeline, lab / "model")
    denoiser: Any = load_model(str(lab / "model"), "cpu").denoiser
    describe_lab(entries, recipe, trained, denoiser, Executor(64)).write(lab / "lab.json")
    save = tmp_path / "legs.json"
    monkeypatch.setattr(legs_audit, "TIMED", 2)
    command = ["benchmark", "legs", "--model", lab, "--images", corpus, "--out", tmp_path / "work", "--device", "cpu"]
    command += ["--controls", 3, "--held-out", 2, "--seen-once", 1, "--layouts", 1, "--save", save]
    ended = CliRunner().invoke(app, [str(part) for part in command])
    assert ended.exit_code == 0, ended.output
    read = LegTable.read(save)
    assert (len(read.rows), read.controls) == (2 + 1 + 1 + 2 + 1 + 1, 3) and read.descriptor.startswith("sscd: ")
    assert {row.truth for row in read.rows} == set(Truth) - {Truth.WHOLE, Truth.LAYOUT}
    assert [row.descriptor_seconds is not None for row in read.rows] == [True] * 2 + [False] * 6
    assert all(set(row.rendering) == {"pixel", "pdq", "sscd"} for row in read.rows)
    again = CliRunner().invoke(app, ["benchmark", "legs", "--table", str(save)])
    assert again.exit_code == 0 and "pixels or copy descriptor" in again.output
    refused = CliRunner().invoke(app, [str(part) for part in [*command[:-2], "--controls", 30]])
    assert isinstance(refused.exception, InputError) and "9 images, but 42 are needed" in str(refused.exception)
