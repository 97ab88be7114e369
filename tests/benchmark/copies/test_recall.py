"""Copies and strangers: what is made of pictures, thresholds from one half, figures from the other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from imgaudit.benchmark.copies import measures, recall
from imgaudit.benchmark.copies.measures import (
    VIEWS_OF_COPY,
    VIEWS_OF_ORIGINAL,
    Measure,
    descriptor_measure,
    views_measures,
)
from imgaudit.benchmark.copies.pictures import read_halves, transformed
from imgaudit.benchmark.copies.recall import LEGS, PAIR, STRANGERS, CopiesReport, HalfScores, report_copies
from imgaudit.benchmark.copies.transformations import STRENGTHS, TRANSFORMATIONS, transform
from imgaudit.cli import app
from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json
from imgaudit.similarity.descriptors import DetailDescriptor, PixelDescriptor
from tests.runs.test_match import picture

KINDS = len(TRANSFORMATIONS) * len(STRENGTHS)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_transformation_changes_a_picture_and_repeats_itself(name: str) -> None:
    own, other = picture(1).resize((120, 90)), picture(2)
    made = [transform(name, own, strength, "seed", other) for strength in range(3)]
    assert all(image.mode == "RGB" and min(image.size) >= 8 for image in made)
    assert all(image.size != own.size or image.tobytes() != own.tobytes() for image in made)
    assert made[2].tobytes() == transform(name, own, 2, "seed", other).tobytes()
    # Also of the smallest pictures that are taken.
    assert transform(name, own.resize((64, 64)), 2, "seed", other).mode == "RGB"


def half(copies: dict[str, float], strangers: dict[str, float], pictures: int = 4, kinds: int = KINDS) -> HalfScores:
    """Every copy and every stranger with the same score, by measure, and a little noise."""
    made, random = HalfScores(), np.random.default_rng(0)
    for _ in range(pictures):
        for name in copies:
            made.add(
                name,
                [copies[name]] * kinds,
                (strangers[name] + 0.01 * random.random(STRANGERS * kinds)).tolist(),
            )
    return made


def test_thresholds_come_from_one_half_and_figures_from_the_other() -> None:
    low = {"pixel": 0.1, LEGS[0]: 1.0, LEGS[1]: 1.0}
    fit = half(dict.fromkeys(low, 9.0), low)
    # One leg of the pair is not convinced, so that the pair is not.
    report = half({"pixel": 0.9, LEGS[0]: 9.0, LEGS[1]: 1.0}, {"pixel": 0.5, LEGS[0]: 1.0, LEGS[1]: 1.0})
    found = report_copies(fit, report, {"pixel": "own"}, folders=["f"], pictures=4, seed=1, skipped={})
    by_name = {one.name: one for one in found.deciders}
    assert by_name["pixel"].overall.found == 1 and by_name["pixel"].false_positives.found == 1
    assert by_name["pixel"].matched.found == 1
    assert by_name[PAIR].overall.found == 0 and by_name[LEGS[0]].overall.found == 1
    assert by_name["pixel"].overall.n == 4 * KINDS and by_name["pixel"].false_positives.n == 4 * STRANGERS * KINDS
    assert [one.of for one in by_name["pixel"].by_transformation] == list(TRANSFORMATIONS)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        picture(number, 96).save(folder / f"{number}.png")
    picture(3, 96).save(folder / "again.jpg", quality=90)
    Image.new("RGB", (90, 90), "red").save(folder / "flat.png")
    Image.new("RGB", (20, 20), "red").save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_halves_are_different_pictures_without_near_copies(pictures: Path) -> None:
    left, right = read_halves([pictures], 6, seed=1, on_progress=lambda done, total: None)
    names = [one.sha256 for one in (*left, *right)]
    assert len(left) == len(right) == 6 == len(set(names)) / 2
    assert len(list(transformed(left, 0, seed=1))) == KINDS
    with pytest.raises(InputError, match=r"expected 40 different pictures .* but the folders have 12"):
        read_halves([pictures], 20, seed=1, on_progress=lambda done, total: None)


def test_one_way_to_compare_is_measured_anew_and_the_others_are_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [*views_measures(DetailDescriptor()), descriptor_measure(PixelDescriptor())]
    monkeypatch.setattr(recall, "available_measures", lambda *, slow: (own, {}))
    few = {name: TRANSFORMATIONS[name] for name in ("JPEG", "flip")}
    for module in ("transformations", "pictures", "recall"):
        monkeypatch.setattr(f"imgaudit.benchmark.copies.{module}.TRANSFORMATIONS", few)
    scores = dict.fromkeys(("pixel", "imagehash phash", *LEGS), 0.1)
    halves = half(scores, scores, kinds=6), half(scores, scores, kinds=6)
    held = report_copies(*halves, dict.fromkeys(scores, "s"), folders=["pictures"], pictures=6, seed=1, skipped={})
    saved = tmp_path / "copies.json"
    held.write(saved)
    command = ["benchmark", "copies", "--quiet", "--images", str(pictures), "--pictures", "6", "--save", str(saved)]
    done = CliRunner().invoke(app, [*command, "--only", VIEWS_OF_COPY, "--only", VIEWS_OF_ORIGINAL])
    assert done.exit_code == 0, done.output
    report = CopiesReport.read(saved)
    names = [one.name for one in report.deciders]
    assert names == [PAIR, "pixel", VIEWS_OF_COPY, VIEWS_OF_ORIGINAL, "imagehash phash", *LEGS]
    assert report.deciders[1] == held.deciders[1]
    flipped = {one.name: one.by_transformation[1].found for one in report.deciders[2:4]}
    assert min(flipped.values()) > 0.6
    assert "kinds of change of which at least 90% are found (lower bound)" in done.stdout
    assert all(("MISSED" in line) == (goal.met is False) for goal in report.targets
               for line in done.stdout.splitlines() if f"{goal.name}:" in line and "of which" not in line)  # fmt: skip
    for wrong, said in (
        (["--only", "other"], "names what cannot be measured"),
        (["--only", VIEWS_OF_COPY, "--seed", "2"], "give the same"),
        (["--only", VIEWS_OF_COPY, "--save", str(tmp_path / "none.json")], "name the table with --save"),
    ):
        refused = CliRunner().invoke(app, [*command, *wrong])
        assert refused.exit_code != 0 and said in str(refused.exception)


@pytest.mark.slow
def test_from_the_command_line(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def own(*, slow: bool) -> tuple[list[Measure], dict[str, Any]]:
        return [descriptor_measure(PixelDescriptor())], {}

    monkeypatch.setattr(recall, "available_measures", own)
    monkeypatch.setattr(measures, "available_measures", own)
    few = dict(list(TRANSFORMATIONS.items())[:3])
    for module in ("transformations", "pictures", "recall"):
        monkeypatch.setattr(f"imgaudit.benchmark.copies.{module}.TRANSFORMATIONS", few)
    saved = tmp_path / "copies.json"
    command = ["benchmark", "copies", "--quiet"]
    made = CliRunner().invoke(app, [*command, "--images", str(pictures), "--pictures", "6", "--save", str(saved)])
    assert made.exit_code == 0, made.output
    report = CopiesReport.model_validate(read_json(saved))
    found = {one.name: one.overall.found for one in report.deciders}
    assert found["pixel"] > 0.9 and 0 <= found[PAIR] <= 1
    assert CliRunner().invoke(app, [*command, "--table", str(saved)]).stdout == made.stdout
    assert CliRunner().invoke(app, command).exit_code != 0
