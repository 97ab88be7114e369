"""The benchmark of planted templates counts what happened, whatever happened."""

import math
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from imgaudit.benchmark.copies.picture_pool import read_pool
from imgaudit.benchmark.copies.planted import RELATED, Planting
from imgaudit.benchmark.copies.templates import (
    PairResult,
    false_rates,
    found_rates,
    judge_goals,
    located_row,
    share_rates,
)
from imgaudit.cli import app
from imgaudit.exceptions import InputError
from imgaudit.schema.pairs import GRID, PairEvidence, PairThresholds, Region
from imgaudit.schema.records import Skipped
from tests.similarity.parts.test_pair import drawing

THRESHOLDS = PairThresholds(geometric=5, photometric=3, level=0.01, pairs=100)
WHOLE = {"pixel": 0.5, "pdq": 0.7}


def outcome(
    planting: Planting, geometric: float, photometric: float, overlap: float, share: float = 0.15
) -> PairResult:
    nowhere = Region(runs=(GRID * GRID,), area=0, box=None)
    evidence = PairEvidence(
        geometric=geometric, photometric=photometric, inliers=0, matches=0, transform=Skipped(skipped="a test"),
        region=nowhere, candidate_region=nowhere,
    )  # fmt: skip
    return PairResult(planting, share, evidence, overlap, {"pixel": 0.9, "pdq": 0.1})


def test_found_pairs_are_counted_by_kind_and_by_share() -> None:
    rows = [outcome(planting, 9, 9, 0.9) for planting in RELATED]
    rows += [outcome(Planting.LOGO, 9, 1, 0.9, 0.05), outcome(Planting.LOGO, 1, 9, 0.9, 0.05)]
    found = {(one.name, one.group): (one.hits, one.n) for one in found_rates(rows, THRESHOLDS, WHOLE)}
    assert found["verified pair", "logo in a picture"] == (1, 3)
    assert found["verified pair", "all"] == (4, 6)
    assert found["whole image, pixel", "all"] == (6, 6)
    assert found["whole image, pdq", "all"] == (0, 6)
    assert [(one.hits, one.n) for one in share_rates(rows, THRESHOLDS)] == [(0, 2), (4, 4), (0, 0), (0, 0)]


def test_unrelated_pairs_that_pass_are_false() -> None:
    rows = [outcome(Planting.UNRELATED, 9, 9, 0), outcome(Planting.BACKGROUND, 9, 1, 0)]
    false = {(one.name, one.group): one.hits for one in false_rates(rows, THRESHOLDS, WHOLE)}
    assert false["verified pair", "other pictures"] == 1
    assert false["verified pair", "same flat background"] == 0
    assert false["geometric leg alone", "all"] == 2
    assert false["photometric leg alone", "all"] == 1


def test_only_found_pairs_are_located() -> None:
    rows = [outcome(Planting.LOGO, 9, 9, overlap) for overlap in (0.2, 0.8, 0.9)]
    row = located_row("logo", [*rows, outcome(Planting.LOGO, 0, 0, 1.0)], THRESHOLDS)
    assert (row.found, row.median, row.well.hits, row.well.n) == (3, 0.8, 2, 3)
    none = located_row("logo", rows, THRESHOLDS.model_copy(update={"geometric": math.inf}))
    assert (none.found, none.median, none.well.n) == (0, 0, 0)


def test_hopes_that_are_missed_are_called_so() -> None:
    rows = [outcome(planting, 0, 0, 0) for planting in RELATED]
    found = found_rates(rows, THRESHOLDS, WHOLE)
    families = [one.model_copy(update={"name": "masked correlation", "group": "a third image of the layout"})
                for one in found[:1]]  # fmt: skip
    located = [located_row("all", rows, THRESHOLDS)]
    false = false_rates([outcome(Planting.UNRELATED, 9, 9, 0)], THRESHOLDS, WHOLE)
    assert not any(target.met for target in judge_goals(found, false, located, families))


def test_pictures_are_halved_by_their_content(tmp_path: Path) -> None:
    for number in range(24):
        drawing(number, 300, 300).save(tmp_path / f"{number:02}.png")
    drawing(3, 300, 300).save(tmp_path / "again.png")
    Image.new("RGB", (300, 300), (9, 9, 9)).save(tmp_path / "flat.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    first, second = (read_pool(tmp_path, 6, seed) for seed in (1, 2))
    assert len(first.fit.pictures) == len(first.report.pictures) == 6
    fit = {picture.tobytes() for picture in [*first.fit.pictures, *second.fit.pictures]}
    assert not fit & {picture.tobytes() for picture in [*first.report.pictures, *second.report.pictures]}
    with pytest.raises(InputError, match="give more pictures"):
        read_pool(tmp_path, 20, 1)


def test_the_command_asks_for_pictures() -> None:
    result = CliRunner().invoke(app, ["benchmark", "templates"])
    assert isinstance(result.exception, InputError) and "--images" in str(result.exception)
