"""The benchmark of word weights: which words are needed, its statistics, and a table from a closed-form model."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.methods.word_weights import (
    ANY,
    CHOSE,
    LAST,
    LEFT_OUT,
    LONGEST,
    ONLY,
    PLANTED,
    RAREST,
    WordRow,
    WordTable,
    format_word_weights,
    measure_word_weights,
    report_word_weights,
)
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription
from imgaudit.models import FiniteSetDenoiser
from imgaudit.models.loading import LoadedModel
from tests.benchmark.methods.test_prompt_scores import closed_form_lab, lab_image
from tests.conftest import tiny_recipe


def row(without: tuple[int, ...] = (0, 2), *, returned: int = 2, planted: str = "", number: int = 1) -> WordRow:
    return WordRow(
        sha256=f"{number:08x}".ljust(16, "0"), words=("red", "fox"), planted=planted, returned=returned,
        without=without, weights={LEFT_OUT: (0.9, 0.1), LAST: (0.0, 1.0)},
    )  # fmt: skip


def table(*rows: WordRow) -> WordTable:
    return WordTable(lab="x", seed=1, hardware="", left_out=0, rows=list(rows))


@pytest.mark.parametrize(
    ("without", "returned", "only", "some"),
    [
        ((0, 2), 2, ("red",), ("red",)),
        ((2, 0), 2, ("fox",), ("fox",)),
        ((0, 0), 2, (), ()),
        ((2, 2), 2, (), ()),
        ((0, 1), 2, (), ()),
        ((0, 2), 1, (), ()),
        ((), 0, (), ()),
    ],
)
def test_a_word_is_needed_if_no_image_comes_back_without_it(
    without: tuple[int, ...], returned: int, only: tuple[str, ...], some: tuple[str, ...]
) -> None:
    found = row(without, returned=returned)
    assert (found.right_words(ONLY), found.right_words(ANY), found.right_words(PLANTED)) == (only, some, ())


def test_planted_words_have_a_goal_and_needed_ones_are_counted_apart() -> None:
    planted = report_word_weights(table(*(row((0, 0), planted="red") for _ in range(18))))
    assert {(one.group, one.name): one.hits for one in planted.rates} == {(PLANTED, LEFT_OUT): 18, (PLANTED, LAST): 0}
    half = report_word_weights(table(*(row(planted="red", number=number) for number in range(5))))
    assert {one.group: one.n for one in half.rates} == {CHOSE: 3, PLANTED: 2, ONLY: 5, ANY: 5}
    assert [target.met for target in planted.targets] == [True] and planted.chances == {PLANTED: 0.5}
    assert "several of 18 (every word of 18)" in planted.needs[0]
    assert "no image comes back without it in 18, and without some other word in 18" in planted.needs[1]
    assert "without it in 5, and without some other word in 0" in half.needs[1]
    assert not report_word_weights(table(*(row(planted="red") for _ in range(10)))).targets[0].met, "10 are too few"
    found = report_word_weights(table(row(), row((2, 0)), row((0, 0)), row((2, 2)), row((1, 2)), row((), returned=0)))
    assert {(one.group, one.name): (one.hits, one.n) for one in found.rates} == {
        (question, way): (1, 2) for question in (ONLY, ANY) for way in (LEFT_OUT, LAST)
    }
    assert not found.targets and len(found.needs) == 1
    assert (
        "of 5 captions 1 are unclear; the image needs no single word of 1, one word of 2, several of 1"
        in found.needs[0]
    )
    assert report_word_weights(table()).rates == []


def test_a_closed_form_model_names_the_word_that_its_image_needs(finite_set: FiniteSetDenoiser, tmp_path: Path) -> None:
    pixels = ((finite_set.points[3] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "0.png")
    images = [
        lab_image(0, "3 3 1", "planted", 64).model_copy(update={"trigger": "3"}),
        lab_image(1, "2 here", "planted", 64),
        lab_image(2, "1 picture", "held_out"),
    ]
    description = LabDescription(recipe=tiny_recipe(), background_images=0, images=images)
    lab = LabModel(Path(), description, LoadedModel(finite_set, "closed form", "FiniteSet", {}))
    work = LabWork(lab, {images[0].sha256: tmp_path / "0.png"}, Path(), 1, Executor(8))
    measured = measure_word_weights(work)
    [found] = measured.rows
    assert measured.left_out == 1 and found.words == ("3", "1")
    assert found.returned == 2 and found.without == (0, 2) and found.needed == ("3",)
    assert found.weights[RAREST] == (-1, -2) and found.weights[LONGEST] == (1, 1)
    assert found.heaviest("left out, direction lost") == "3"
    measured.write(tmp_path / "table.json")
    lines = list(format_word_weights(report_word_weights(WordTable.read(tmp_path / "table.json"))))
    assert max(map(len, lines)) <= 80
    with pytest.raises(InputError, match="not in the folder"):
        measure_word_weights(replace(work, located={}))
    [found] = measure_word_weights(replace(work, located={}), captions=0).rows
    assert not found.without and not found.needed


def test_labs_without_a_null_branch_are_refused() -> None:
    with pytest.raises(InputError, match="distilled"):
        measure_word_weights(closed_form_lab(Executor(8), no_null="distilled"))
