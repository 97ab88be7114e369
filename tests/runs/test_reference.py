"""A reference collection in an audit: near copies are counted, named and shown, and nothing stale is believed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.index import Collection
from imgaudit.io.writing import read_json
from imgaudit.runs import reference_search
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.reference import FILE, Reference
from imgaudit.runs.reference_search import find_near_copy_rule, is_looked_up, keep_reference, search_reference
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.records import Skipped
from tests.cli.test_main import FAST
from tests.support.commands import Commands


def picture(number: int, size: int = 96) -> Image.Image:
    small = np.random.default_rng(number).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Pictures 0 to 19, of picture 3 three versions and of picture 4 a mirrored one."""
    folder = tmp_path / "crawl"
    folder.mkdir()
    for number in range(20):
        picture(number).save(folder / f"{number}.png")
    picture(3).resize((60, 60)).save(folder / "three again.png")
    picture(3).save(folder / "<b>three & more.jpg", quality=60)
    picture(4).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "four mirrored.png")
    return folder


def build(sources: Path, out: Path, *options: str) -> Path:
    result = CliRunner().invoke(app, ["index", "build", str(out), str(sources), "--workers", "1", "-q", *options])
    assert result.exit_code == 0, result.output
    return out


def test_near_copies_are_counted_and_named(crawl: Path, tmp_path: Path) -> None:
    collection = Collection.open(build(crawl, tmp_path / "index"))
    images, controls = {"a": crawl / "3.png", "b": crawl / "5.png"}, []
    for number in range(30, 50):
        controls.append(tmp_path / f"control{number}.png")
        picture(number).save(controls[-1])
    found = search_reference(collection, images, controls)
    three, five = found.images["a"], found.images["b"]
    assert (three.near_copies, five.near_copies) == (3, 1) and three.counted_all
    assert three.nearest[0].similarity == pytest.approx(1, abs=1e-5) and "3.png" in three.nearest[0].id
    assert {Path(match.id).name for match in three.nearest} == {"3.png", "three again.png", "<b>three & more.jpg"}
    assert three.p_value == pytest.approx(1 / 21) and found.controls == 20
    without = search_reference(collection, images)
    assert isinstance(without.images["a"].p_value, Skipped) and without.controls == 0
    assert (found.vectors, found.descriptor, found.bound) == (23, "detail", 0.5)


def test_views_are_searched_for_where_the_rule_was_set_for_them(crawl: Path, tmp_path: Path) -> None:
    images = {"a": crawl / "4.png"}
    with_views = search_reference(Collection.open(build(crawl, tmp_path / "detail")), images).images["a"]
    named = {Path(one.id).name: one.view for one in with_views.nearest}
    assert named == {"4.png": "whole picture", "four mirrored.png": "mirror image"} and with_views.counted_all
    old = Collection.open(build(crawl, tmp_path / "pixel", "--descriptor", "pixel"))
    without = search_reference(old, images).images["a"]
    assert [(Path(one.id).name, one.view) for one in without.nearest] == [("4.png", "")]


def test_more_near_copies_than_are_counted_are_said_to_be_more(
    crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"a": crawl / "3.png"}
    for descriptor, limit in (("detail", "MOST_WITH_VIEWS"), ("pixel", "MOST")):
        monkeypatch.setattr(reference_search, limit, 2)
        collection = Collection.open(build(crawl, tmp_path / descriptor, "--descriptor", descriptor))
        found = search_reference(collection, images).images["a"]
        assert (found.near_copies, found.counted_all) == (2, False)


def test_a_collection_of_vectors_nobody_has_a_rule_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rule of what a near copy is"):
        find_near_copy_rule("clip")
    vectors = np.eye(4, dtype=np.float32)
    np.save(tmp_path / "v.npy", vectors)
    collection = Collection.open(build(tmp_path / "v.npy", tmp_path / "index", "--descriptor", "clip"))
    with pytest.raises(InputError, match="'clip', for which there is no rule"):
        search_reference(collection, {})


def test_what_a_run_holds_is_looked_up_once_per_state_of_a_collection(
    crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(crawl, tmp_path / "index")
    run, images = RunFolder(tmp_path / "run"), {"a": crawl / "3.png"}
    run.path.mkdir()
    first = keep_reference(run, Collection.open(index), images)
    with monkeypatch.context() as patch:
        patch.setattr("imgaudit.runs.reference_search.search_reference", lambda *given: pytest.fail("looked up again"))
        assert keep_reference(run, Collection.open(index), images) == first
    controls = [crawl / "5.png", crawl / "6.png"]
    with_nulls = keep_reference(run, Collection.open(index), images, controls)
    assert with_nulls.controls == 2 and not isinstance(with_nulls.images["a"].p_value, Skipped)
    assert keep_reference(run, Collection.open(index), images) == with_nulls
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(crawl / "3.png", more / "3.png")
    added = CliRunner().invoke(app, ["index", "add", str(index), str(more), "--workers", "1", "-q"])
    assert added.exit_code == 0, added.output
    again = keep_reference(run, Collection.open(index), images)
    assert again.images["a"].near_copies == first.images["a"].near_copies + 1
    assert again.manifest_sha256 != first.manifest_sha256
    (run.path / FILE).write_text("{}")
    with pytest.raises(RunFolderError, match=r"reference.json' is damaged .*: delete it"):
        keep_reference(run, Collection.open(index), images)


@pytest.mark.slow
def test_an_audit_with_a_reference(
    crawl: Path, model_folder: Path, make_folder: Callable[..., Path], run_imgaudit: Commands, tmp_path: Path
) -> None:
    portfolio, run, index = make_folder("portfolio", range(2)), tmp_path / "run", tmp_path / "index"
    copied, mirrored = sorted(portfolio.glob("*.png"))
    ImageOps.mirror(Image.open(mirrored)).save(crawl / "mirrored.png")
    for number in range(12):
        shutil.copy(copied, crawl / f"<i>copy{number}.png")
    build(crawl, index)
    arguments = [
        "audit",
        portfolio,
        "--model",
        model_folder,
        "--reference",
        index,
        "--no-controls",
        "--out",
        run,
        *FAST,
    ]
    done = run_imgaudit(*arguments)
    assert done.code == 3, done.stderr
    result = AuditResult.model_validate(read_json(run / "report.json"))
    by_name = {Path(finding.path).name: finding for finding in result.findings}
    found = by_name[copied.name].reference
    assert found is not None and found.near_copies == 12 and len(found.nearest) == 10
    (other,) = by_name[mirrored.name].reference.nearest  # type: ignore[union-attr]
    assert other.view == "mirror image" and other.path.endswith("mirrored.png")
    other_page = (run / "report" / f"{by_name[mirrored.name].id}.html").read_text(encoding="utf-8")
    assert "found with: mirror image" in other_page
    page = (run / "report" / f"{by_name[copied.name].id}.html").read_text(encoding="utf-8")
    assert "12 near copies" in page and "found with" not in page and "<i>copy" not in page and "&lt;i&gt;copy" in page
    assert FILE in json.dumps(read_json(run / "evidence.json"))
    images = [one.id for one in result.findings]
    assert is_looked_up(RunFolder(run), Collection.open(index), images, with_controls=False)
    assert not is_looked_up(RunFolder(run), Collection.open(index), images, with_controls=True)
    assert not is_looked_up(RunFolder(run), Collection.open(index), [*images, "0" * 16], with_controls=False)
    again = run_imgaudit(*arguments)
    assert again.code == 3 and "nothing to do" in again.stderr and "loading model" not in again.stderr
    reported = run_imgaudit("report", run)
    assert reported.code == 3 and "12 near copies" in page
    assert Reference.model_validate(read_json(run / FILE)).vectors == 36
    missing = run_imgaudit(*arguments[:4], "--reference", tmp_path / "none", "--out", tmp_path / "other", *FAST)
    assert missing.code == 2 and "Traceback" not in missing.stderr
