"""Images that were already made, against a portfolio: what is seen, with which null, and what an interruption costs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import RunFolderError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.match import MatchInputs, match_images
from imgaudit.runs.pair_scores import PAIRS
from imgaudit.schema.match import MatchResult
from imgaudit.schema.records import Skipped
from tests.support.wrapping import unwrap

VERSIONS = {"imgaudit": "test"}


def picture(number: int, size: int = 160) -> Image.Image:
    """A picture with corners to find: rectangles of every size and colour."""
    random = np.random.default_rng(number)
    pixels = np.full((size, size, 3), random.integers(0, 256, 3), dtype=np.uint8)
    for _ in range(60):
        (x, y), (w, h) = random.integers(0, size - 8, 2), random.integers(6, 40, 2)
        pixels[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return Image.fromarray(pixels)


def folder(path: Path, pictures: dict[str, Image.Image]) -> Path:
    path.mkdir()
    for name, image in pictures.items():
        image.save(path / name)
    return path


def read(path: Path) -> Portfolio:
    return read_portfolio(path, CaptionSource(path, sidecars=False))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirrored and cropped copy of target 1, a collage with target 2 in it, and two others."""
    whole = picture(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((6, 6, 152, 152))
    collage = picture(90, 200)
    collage.paste(picture(2).resize((110, 110)), (80, 80))
    pictures = {"a.png": whole, "b.png": collage, "c.png": picture(91), "d.jpg": picture(92)}
    return folder(tmp_path_factory.mktemp("match") / "made", pictures)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(
        tmp_path_factory.mktemp("match") / "targets", {f"{number}.png": picture(number) for number in (1, 2, 3)}
    )


@pytest.fixture(scope="module")
def decoys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = {f"{number}.png": picture(number) for number in range(100, 140)}
    return folder(tmp_path_factory.mktemp("match") / "decoys", pictures)


def look(out: Path, made: Path, targets: Path, decoys: Path | None) -> MatchResult:
    out.mkdir(exist_ok=True)
    others = None if decoys is None else read(decoys)
    return match_images(RunFolder(out), MatchInputs(read(made), read(targets), others, made.name, 0.05, VERSIONS))


@pytest.fixture(scope="module")
def compared(
    made: Path, targets: Path, decoys: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, MatchResult]:
    """The output folder and the result of the comparison that most tests ask about."""
    out = tmp_path_factory.mktemp("match") / "out"
    return out, look(out, made, targets, decoys)


def test_copies_and_parts_are_seen_and_nothing_else(compared: tuple[Path, MatchResult]) -> None:
    _, found = compared
    seen = {Path(one.path).name: one for one in found.targets}
    assert (found.images, found.decoys, len(found.targets)) == (4, 40, 3)
    assert seen["1.png"].seen in ("copy", "partial") and seen["2.png"].seen in ("copy", "partial")
    assert seen["3.png"].seen == "not seen" and seen["3.png"].images == 0
    for name, image in (("1.png", "a.png"), ("2.png", "b.png")):
        closest = seen[name].closest
        assert not isinstance(closest, Skipped) and Path(closest.path).name == image
        assert closest.evidence.region.area > 0.6
        assert seen[name].p_value == pytest.approx(1 / 41) and seen[name].images == 1
    # In the collage the copy is where it was pasted.
    closest = seen["2.png"].closest
    assert not isinstance(closest, Skipped) and closest.evidence.candidate_region.box is not None
    assert closest.evidence.candidate_region.box.left > 0.3 and closest.evidence.candidate_region.box.top > 0.3


def test_a_result_of_before_is_read(compared: tuple[Path, MatchResult]) -> None:
    _, found = compared
    before = found.model_dump(mode="json")
    before["sightings"] = before.pop("targets")
    assert MatchResult.model_validate(before) == found


def test_without_enough_decoys_nothing_is_concluded(made: Path, targets: Path, tmp_path: Path) -> None:
    found = look(tmp_path / "out", made, targets, None)
    assert {one.seen for one in found.targets} == {"inconclusive"} and isinstance(found.thresholds, Skipped)
    few = folder(tmp_path / "few", {f"{number}.png": picture(number) for number in range(100, 105)})
    found = look(tmp_path / "other", made, targets, few)
    assert {one.seen for one in found.targets} == {"inconclusive"}
    assert "5 decoys are too few: 19 are needed" in found.targets[0].reason


def test_a_target_among_the_decoys_is_no_decoy(targets: Path, decoys: Path, tmp_path: Path) -> None:
    others = Path(shutil.copytree(decoys, tmp_path / "decoys"))
    picture(1).save(others / "the target.png")
    found = look(tmp_path / "out", folder(tmp_path / "made", {"c.png": picture(91)}), targets, others)
    assert found.decoys == 40


def test_what_is_finished_is_not_compared_again(
    made: Path,
    targets: Path,
    decoys: Path,
    compared: tuple[Path, MatchResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, first = compared
    shutil.copytree(out, tmp_path / "out")
    pairs = tmp_path / "out" / PAIRS
    lines = pairs.read_bytes().splitlines()
    # A kill in the middle of the last line.
    pairs.write_bytes(b"\n".join(lines[:-1]) + b"\n" + lines[-1][:40])
    calls: list[object] = []
    from imgaudit.runs import match

    original = match.compare_features
    monkeypatch.setattr(match, "compare_features", lambda *given: calls.append(given) or original(*given))
    again = look(tmp_path / "out", made, targets, decoys)
    assert again == first
    # One image with every target and decoy, and the closest of every target once more.
    assert len(calls) == 43 + 3
    more = folder(tmp_path / "more", {"9.png": picture(9)})
    with pytest.raises(RunFolderError, match="holds scores of other targets or decoys"):
        look(tmp_path / "out", made, more, decoys)


def drawing(number: int, colour: tuple[int, int, int] = (40, 90, 160)) -> Image.Image:
    """Three soft discs on white, without corners: nothing that local features find."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:160, :160]
    ink = np.zeros((160, 160))
    for _ in range(3):
        (cx, cy), radius = random.uniform(30, 130, 2), random.uniform(12, 30)
        ink = np.maximum(ink, 1 / (1 + np.exp((np.hypot(x - cx, y - cy) - radius) / 3)))
    pixels = 255 - ink[..., None] * (255 - np.array(colour))
    return Image.fromarray(pixels.round().astype(np.uint8))


def test_a_drawing_without_local_features_is_found_as_a_whole_picture(tmp_path: Path) -> None:
    # In another colour, and mirrored.
    copy = drawing(1, (200, 60, 30)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    made = folder(tmp_path / "made", {"a.png": copy, "b.png": drawing(50), "c.png": drawing(51)})
    targets = folder(tmp_path / "targets", {f"{number}.png": drawing(number) for number in (1, 2)})
    others = folder(tmp_path / "decoys", {f"{number}.png": drawing(number) for number in range(100, 150)})
    found = look(tmp_path / "out", made, targets, others)
    copied, other = sorted(found.targets, key=lambda one: one.path)
    assert (copied.seen, copied.by, other.seen) == ("copy", "whole", "not seen"), (copied, other)
    assert "An image is like the whole target: the fine detail of both agrees at " in copied.reason
    assert not isinstance(copied.closest, Skipped) and Path(copied.closest.path).name == "a.png"
    assert copied.closest.similarity is not None and copied.closest.similarity > 0.9
    assert copied.p_value == pytest.approx(1 / 51) and (copied.images, other.images) == (1, 0)


def test_a_copy_of_the_whole_counts_for_more_than_a_part_in_another_image(tmp_path: Path) -> None:
    patch = picture(5, 110)
    target = drawing(1)
    target.paste(patch, (25, 25))
    collage = picture(90, 200)
    collage.paste(patch.resize((120, 120)), (70, 70))
    # Too blurred for local features, and still the same picture at 32 x 32.
    blurred = target.filter(ImageFilter.GaussianBlur(3))
    made = folder(tmp_path / "made", {"blurred.png": blurred, "collage.png": collage, "other.png": picture(91)})
    targets = folder(tmp_path / "targets", {"1.png": target})
    others = folder(tmp_path / "decoys", {f"{number}.png": picture(number) for number in range(100, 145)})
    [found] = look(tmp_path / "out", made, targets, others).targets
    assert (found.seen, found.by, found.images) == ("copy", "whole", 2), found
    assert "An image is like the whole target" in found.reason
    assert not isinstance(found.closest, Skipped) and Path(found.closest.path).name == "blurred.png"


def test_with_few_decoys_whole_pictures_do_not_count(tmp_path: Path) -> None:
    made = folder(tmp_path / "made", {"a.png": drawing(1)})
    targets = folder(tmp_path / "targets", {"1.png": drawing(1)})
    others = folder(tmp_path / "decoys", {f"{number}.png": drawing(number) for number in range(100, 120)})
    found = look(tmp_path / "out", made, targets, others)
    assert found.whole_thresholds == Skipped(skipped="20 decoys are too few for whole pictures: 39 are needed")
    assert [one.seen for one in found.targets] == ["not seen"]


def test_from_the_command_line(made: Path, targets: Path, decoys: Path, tmp_path: Path) -> None:
    made = Path(shutil.copytree(made, tmp_path / "made"))
    (made / "<img src=x>.png").write_bytes(b"no image")
    arguments = ["match", str(made), str(targets), "--decoys", str(decoys), "--out", str(tmp_path / "out"), "-q"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 1, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80, shown.stdout
    assert "3 targets in 4 images" in unwrap(shown.stdout) and "40 decoys" in unwrap(shown.stdout)
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<img src=x>" not in page and "&lt;img src=x&gt;" in page and "Not seen" in page
    lines = CliRunner().invoke(app, [*arguments, "--json", "--fail-on", "never"])
    assert lines.exit_code == 0, "never"
    parsed = [json.loads(line) for line in lines.stdout.splitlines()]
    assert len(parsed) == 4 and parsed[-1]["images"] == 4 and parsed[-1]["skipped"][0]["path"].endswith("x>.png")
    held = MatchResult.model_validate(json.loads((tmp_path / "out" / "match.json").read_text(encoding="utf-8")))
    assert held.count("not seen") == 1
    for wrong, said in (
        ([str(tmp_path / "none"), str(targets)], "none"),
        ([str(made), str(targets), "--fail-on", "maybe"], "--fail-on must be"),
    ):
        refused = CliRunner().invoke(app, ["match", *wrong, "-q", "--out", str(tmp_path / "x")])
        assert refused.exit_code != 0 and said in str(refused.exception) + refused.output
