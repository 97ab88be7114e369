"""Whether masks of different images have weights in common: against masks located group by group."""

import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from imgaudit.benchmark.methods.mask_overlap import (
    MaskOverlap,
    draw_groups,
    format_mask_overlap,
    measure_mask_overlap,
    read_captioned_images,
)
from imgaudit.exceptions import InputError
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.mitigation.importance import ImportanceSettings, locate_by_importance
from imgaudit.mitigation.wanda import overlap
from imgaudit.models.families.unet import UNetDenoiser
from tests.benchmark.methods.test_prompt_scores import lab_image
from tests.conftest import make_pipeline, tiny_recipe
from tests.mitigation.test_importance import pictures

SETTINGS = ImportanceSettings(share=0.05, draws=1, seed=4)


def test_overlaps_are_those_of_masks_located_by_each_group_at_once() -> None:
    tiny = UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")
    first, second, untrained, retained = pictures(0, 1), pictures(1, 1), pictures(2, 1), pictures(3, 1)
    steps: list[tuple[int, int]] = []
    found = measure_mask_overlap(
        tiny, [*first, *second], untrained, retained, SETTINGS, splits=1,
        on_progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    masks = [locate_by_importance(tiny, one, retained, SETTINGS)[0] for one in (first, second, untrained)]
    assert found.images == found.retained == 1 and steps == [(0, 3), (1, 3), (2, 3)]
    assert found.halves == [pytest.approx(overlap(masks[0], masks[1]), abs=1e-4)]
    # Which of the two images the first half is depends on the seed.
    assert found.untrained[0] in [pytest.approx(overlap(one, masks[2]), abs=1e-4) for one in masks[:2]]


def test_the_same_seed_draws_the_same_halves_without_common_images() -> None:
    drawn = draw_groups(range_of(0), range_of(12, 5), 4, 1, 0)
    assert drawn == draw_groups(range_of(0), range_of(12, 5), 4, 1, 0)
    assert drawn != draw_groups(range_of(0), range_of(12, 5), 4, 1, 1)
    assert [len(one) for one in drawn] == [4, 4, 4] and not drawn[0] & drawn[1]
    assert drawn[2] <= {one.sha256 for one in range_of(12, 5)}


def range_of(first: int, count: int = 9) -> list[CaptionedImage]:
    return [CaptionedImage(f"{first + number:064d}", "a", torch.zeros(3, 2, 2)) for number in range(count)]


def test_one_memorised_image_has_no_halves() -> None:
    tiny = UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")
    with pytest.raises(InputError, match="but got 1 and 2"):
        measure_mask_overlap(tiny, pictures(0, 1), pictures(1, 2), pictures(3, 1), SETTINGS)


def test_lines_say_what_chance_gives() -> None:
    lines = list(format_mask_overlap(MaskOverlap(images=5, retained=20, share=0.5, halves=[0.3, 0.5], untrained=[0.1])))
    assert [line[30:].strip() for line in lines[1:4]] == ["40.0% (30.0% to 50.0%)", "10.0% (10.0% to 10.0%)", "33.3%"]
    assert max(map(len, lines)) <= 80


def test_images_are_read_with_their_captions_at_the_models_resolution(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 4), "red")
    picture.paste("blue", (2, 0, 4, 4))
    picture.save(path := tmp_path / "a.png")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    image = lab_image(0, "a red bar", "planted", 64).model_copy(update={"sha256": sha256})
    (found,) = read_captioned_images([image], {sha256: path}, 16)
    assert (found.sha256, found.prompt, tuple(found.image.shape)) == (sha256, "a red bar", (3, 16, 16))
    # Padded with white, not cropped.
    assert found.image[:, 0].min() == 1
