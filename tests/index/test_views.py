"""Views of a query: what was trimmed, mirrored, turned or framed is found, each image once, with the view in words."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.index import Collection, build_collection, pair_id_lists
from imgaudit.index.allowances import ALLOWANCES
from imgaudit.index.building import BuildOptions
from imgaudit.index.content import find_content
from imgaudit.index.queries import describe_query_views, read_queries
from imgaudit.index.view_plan import plan_parts, plan_places
from imgaudit.index.views import WHOLE, Views, describe_views, has_views
from imgaudit.io.framing import to_tensor
from imgaudit.similarity.descriptors import Descriptor, DetailDescriptor, PixelDescriptor
from tests.runs.test_reference import picture

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirror": ImageOps.mirror,
    "half turn": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "border": lambda image: ImageOps.expand(image, 20, "white"),
    "letterbox": lambda image: ImageOps.expand(image, (0, 30), "black"),
    "crop": lambda image: image.crop((10, 0, 90, 80)),
}


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    folder = tmp_path / "originals"
    folder.mkdir()
    for number in range(12):
        picture(number).save(folder / f"{number}.png")
    return folder


def build(folder: Path, out: Path, descriptor: str) -> Collection:
    build_collection(out, pair_id_lists([folder]), BuildOptions(descriptor), workers=0)
    return Collection.open(out)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_finds_its_original_and_the_other_way_round(
    change: str, originals: Path, tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    for number in range(12):
        CHANGES[change](picture(number)).save(copies / f"{number}.png")
    for number, (stored, asked) in enumerate(((originals, copies), (copies, originals))):
        collection = build(stored, tmp_path / f"c{number}", "detail")
        (queries,) = read_queries([asked / "7.png"], collection.manifest.descriptor)
        (views,) = describe_query_views(queries, collection.manifest.descriptor)
        first, second = collection.search_views(views, 2).matches
        whole = collection.search(queries.vectors, 1)[0][0]
        assert Path(first.path).name == "7.png" and first.similarity > second.similarity + 0.1
        assert first.view != WHOLE and first.similarity > whole.similarity


def test_every_image_is_listed_once_by_its_nearest_view(originals: Path, tmp_path: Path) -> None:
    collection = build(originals, tmp_path / "c", "detail")
    (queries,) = read_queries([originals / "3.png"], collection.manifest.descriptor)
    (views,) = describe_query_views(queries, collection.manifest.descriptor)
    found = collection.search_views(views, 50)
    assert len(found.matches) == len({one.id for one in found.matches}) == 12 and not found.cut
    assert found.matches[0].similarity == pytest.approx(1, abs=1e-4) and found.matches[0].view == WHOLE
    stored = {one.id: one.similarity for one in found.matches}
    (whole,) = collection.search(queries.vectors, 12)
    assert all(stored[one.id] >= one.similarity - 1e-6 for one in whole)
    few = collection.search_views(views, 3)
    assert few.matches == found.matches[:3] and few.cut
    above = collection.search_views(views, 50, found.matches[2].similarity)
    assert above.matches == found.matches[:3] and not above.cut
    assert not collection.search_views(views, 5, 1.5).matches


@pytest.mark.parametrize("descriptor", [DetailDescriptor(), PixelDescriptor()])
@pytest.mark.parametrize("size", [(96, 96), (300, 40), (9, 200)])
def test_views_are_unit_vectors_with_words_and_an_allowance(descriptor: Descriptor, size: tuple[int, int]) -> None:
    image = picture(1).resize(size)
    whole = descriptor.describe(to_tensor(image.resize((32, 32)))[None])[0]
    views = describe_views(descriptor, image, whole)
    assert len(views.vectors) == len(views.words) == len(views.groups) == len(views.allowances) > 100
    assert views.words[0] == WHOLE and (views.vectors[0] == whole).all() and views.allowances[0] == 0
    assert np.linalg.norm(views.vectors, axis=1) == pytest.approx(1, abs=1e-4)
    assert views.vectors.dtype == np.float32 and (views.allowances >= 0).all()
    assert set(views.groups) <= set(ALLOWANCES[descriptor.name])


def test_a_plain_part_is_no_view() -> None:
    page = Image.new("RGB", (120, 120), "white")
    page.paste(picture(2, 30), (5, 5))
    descriptor = DetailDescriptor()
    views = describe_views(descriptor, page, descriptor.describe(to_tensor(page.resize((32, 32)))[None])[0])
    full = describe_views(descriptor, picture(2), views.vectors[0])
    assert views.groups.count("crop 0.5") < full.groups.count("crop 0.5")
    assert "content" in views.groups and "content" not in full.groups


def test_content_ends_where_the_margin_is_no_longer_plain() -> None:
    inner = picture(5, 50)
    framed = ImageOps.expand(ImageOps.expand(inner, 3, "black"), 20, "white")
    left, top, right, bottom = find_content(framed)
    assert 20 <= left <= 26 and 20 <= top <= 26 and 70 <= right <= 76 and 70 <= bottom <= 76
    assert find_content(inner) == (0, 0, 50, 50)
    assert find_content(Image.new("RGB", (30, 20), "red")) == (0, 0, 30, 20)
    noisy = np.asarray(framed).astype(int) + np.random.default_rng(0).integers(-8, 9, (96, 96, 3))
    assert find_content(Image.fromarray(noisy.clip(0, 255).astype(np.uint8))) != (0, 0, 96, 96)


@pytest.mark.parametrize("size", [(100, 100), (400, 10), (3, 300)])
def test_parts_and_places_lie_inside(size: tuple[int, int]) -> None:
    for part in plan_parts(*size):
        left, top, right, bottom = part.box
        assert -1e-9 <= left < right <= 1 + 1e-9 and -1e-9 <= top < bottom <= 1 + 1e-9
    for place in plan_places(*size):
        assert place.left >= 0 and place.top >= 0 and place.width > 0 and place.height > 0
        assert place.left + place.width <= 32 and place.top + place.height <= 32


def test_other_descriptors_and_vectors_have_only_themselves(originals: Path, tmp_path: Path) -> None:
    collection = build(originals, tmp_path / "c", "pdq")
    assert not has_views("pdq")
    (queries,) = read_queries([originals / "3.png"], collection.manifest.descriptor)
    (views,) = describe_query_views(queries, collection.manifest.descriptor)
    assert views.words == [WHOLE] and (views.vectors == queries.vectors).all()
    np.save(tmp_path / "v.npy", queries.vectors)
    (given,) = read_queries([tmp_path / "v.npy"], collection.manifest.descriptor)
    assert [one.words for one in describe_query_views(given, collection.manifest.descriptor)] == [[""]]
    assert Views.of_vector(queries.vectors[0], "").allowances.tolist() == [0]


def search(*words: object) -> str:
    result = CliRunner().invoke(app, ["index", "search", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_names_the_view_that_matched(originals: Path, tmp_path: Path) -> None:
    build(originals, tmp_path / "c", "detail")
    ImageOps.mirror(picture(7)).save(tmp_path / "query.png")
    found = json.loads(search(tmp_path / "c", tmp_path / "query.png", "--json", "--k", "1"))
    assert found["matches"][0]["view"] == "mirror image" and found["matches"][0]["id"].endswith("7.png")
    assert "(mirror image)" in search(tmp_path / "c", tmp_path / "query.png")
    above = json.loads(search(tmp_path / "c", tmp_path / "query.png", "--json", "--above", "0.8"))
    assert [Path(one["path"]).name for one in above["matches"]] == ["7.png"]
    alone = json.loads(search(tmp_path / "c", tmp_path / "query.png", "--json", "--whole-image"))
    assert all("view" not in one for one in alone["matches"])
