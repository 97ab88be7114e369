"""The corpus of plants, layouts and alike images."""

import random
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imgaudit.exceptions import InputError
from imgaudit.io.images import load_image
from imgaudit.lab.corpus import CorpusEntry, assign_roles, read_corpus, write_corpus
from imgaudit.lab.layout_corpus import LayoutCounts, build_layout_corpus
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.samples import LAYOUT_SHARE, PLANTED_SHARE, plan_samples
from tests.conftest import tiny_recipe

COUNTS = LayoutCounts(
    alike=2, planted=3, planted_repeats=(2,), layouts=2, variations=3, layout_repeats=(1,), seen_once=1, held_out=4
)


def draw_marks(seed: int, series: int | None) -> Image.Image:
    """Random rectangles; those of a series lie on a plate of one colour."""
    rng = random.Random(seed)
    image = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(image)
    if series is not None:
        pen.rectangle((4, 4, 59, 59), fill=("navy", "maroon", "darkgreen", "black")[series])
    for _ in range(12):
        left, top = rng.randint(0, 52), rng.randint(0, 52)
        colour = tuple(rng.randint(0, 255) for _ in range(3))
        pen.rectangle((left, top, left + rng.randint(4, 11), top + rng.randint(4, 11)), fill=colour)
    return image


def make_drawings(folder: Path, count: int) -> list[CorpusEntry]:
    """Four series of two signs each, and other drawings."""
    folder.mkdir(exist_ok=True)
    entries = []
    for seed in range(count):
        path, series = folder / f"{seed:02d}.png", seed % 4 if seed < 8 else None
        draw_marks(seed, series).save(path)
        entries.append(CorpusEntry(path, f"drawing {seed}, {'others' if series is None else f'signs {series}'}"))
    return entries


def test_every_role_is_filled_and_the_corpus_is_read_back(tmp_path: Path) -> None:
    drawings = make_drawings(tmp_path / "drawings", 24)
    made = build_layout_corpus(drawings, tmp_path / "corpus", 32, 7, COUNTS)
    assert Counter(entry.role for entry in made) == {
        "planted": 3, "alike": 2, "template": 2, "variation": 4, "seen_once": 1, "held_out": 4, "background": 12,
    }  # fmt: skip
    write_corpus(made, tmp_path / "corpus")
    assert read_corpus(tmp_path / "corpus") == made
    assert {load_image(entry.path).pixels.size for entry in made} == {(32, 32)}
    again = build_layout_corpus(drawings, tmp_path / "again", 32, 7, COUNTS)
    assert [entry.path.read_bytes() for entry in again] == [entry.path.read_bytes() for entry in made]
    other = build_layout_corpus(drawings, tmp_path / "other", 32, 8, COUNTS)
    assert [entry.role for entry in other] != [entry.role for entry in made]


def test_a_layout_is_in_no_other_image_and_its_images_agree_in_the_region(tmp_path: Path) -> None:
    made = build_layout_corpus(make_drawings(tmp_path / "drawings", 24), tmp_path / "corpus", 64, 7, COUNTS)
    families = {entry.family for entry in made if entry.family}
    assert not families & {entry.path.stem for entry in made if not entry.family}
    for family in families:
        own = [entry for entry in made if entry.family == family]
        assert [entry.role for entry in own] == ["template", "variation", "variation"]
        assert len({entry.text for entry in own}) == 3
        assert own[0].region is not None and {entry.region for entry in own} == {own[0].region}
        first, second = (np.asarray(load_image(entry.path).pixels) for entry in own[:2])
        same = (first == second).all(axis=-1)
        assert same[own[0].region.mask()].all() and not same.all()


def test_layouts_are_shown_as_often_as_their_repeats_say_and_withheld_from_a_twin(tmp_path: Path) -> None:
    made = build_layout_corpus(make_drawings(tmp_path / "drawings", 24), tmp_path / "corpus", 32, 7, COUNTS)
    plan = plan_samples(made, tiny_recipe(steps=30, exposures_per_repeat=2))
    for entry, exposures, exact in zip(made, plan.exposures, plan.exact_exposures, strict=True):
        if entry.role != "background":
            assert exposures == exact == 2 * entry.repeats
        assert (exposures > 0) == entry.trained
    with pytest.raises(InputError, match="images of shared layouts take"):
        plan_samples([entry for entry in made if entry.role != "planted"], tiny_recipe(steps=4, exposures_per_repeat=2))
    twin = assign_roles(made, tiny_recipe(plant=False))
    assert Counter(entry.role for entry in twin) == {
        "withheld": 5, "alike": 2, "seen_once": 1, "held_out": 4, "background": 12,
    }  # fmt: skip


def test_layouts_are_of_the_kinds_that_are_asked_for(tmp_path: Path) -> None:
    counts = COUNTS.model_copy(update={"kinds": ("background",)})
    made = build_layout_corpus(make_drawings(tmp_path / "drawings", 24), tmp_path / "corpus", 32, 7, counts)
    assert {entry.path.stem.split("-")[-2] for entry in made if entry.family} == {"background"}
    with pytest.raises(ValueError, match="frame"):
        LayoutCounts.model_validate({"kinds": ["corner"]})


def test_the_counts_of_the_reported_lab_fit_its_recipe() -> None:
    recipes = Path(__file__).parents[2] / "examples" / "recipes"
    counts = LayoutCounts.model_validate(tomllib.loads((recipes / "report-128-layouts.toml").read_text("utf-8")))
    recipe = LabRecipe.read(recipes / "report-128.toml")
    total = recipe.steps * recipe.batch_size

    def exposures(repeats: Sequence[int], images: int, shown: int) -> int:
        return sum(repeats[number % len(repeats)] for number in range(images)) * shown * recipe.exposures_per_repeat

    assert exposures(counts.planted_repeats, counts.planted, 1) <= PLANTED_SHARE * total
    assert exposures(counts.layout_repeats, counts.layouts, counts.variations) <= LAYOUT_SHARE * total


def test_too_few_images_are_refused_with_what_was_expected(tmp_path: Path) -> None:
    drawings = make_drawings(tmp_path / "drawings", 14)
    with pytest.raises(InputError, match="expected 16 images without near copies, got 14"):
        build_layout_corpus(drawings, tmp_path / "corpus", 32, 7, COUNTS)
    with pytest.raises(InputError, match="expected 9 images to plant, 9 of them with one that is alike"):
        build_layout_corpus(drawings, tmp_path / "corpus", 32, 7, COUNTS.model_copy(update={"alike": 9, "planted": 9}))
