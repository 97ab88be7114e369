"""Works among targets, controls and decoys: found before anything is measured, and measured once."""

from pathlib import Path

import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from imgaudit import LoadedModel, Portfolio, audit, calibrate, load_model, read_portfolio
from imgaudit.cli import app
from imgaudit.decision.measured_bank import build_bank
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.runs.works import count_works, describe_same_works, group_targets, keep_works
from imgaudit.schema.config import Series
from imgaudit.schema.protocol import Framing
from tests.conftest import random_image
from tests.support.records import PROTOCOL, measurement
from tests.test_api import CONFIG


def picture(number: int, side: int = 160) -> Image.Image:
    """A soft picture of its own for every number."""
    return random_image(1000 + number, (9, 7)).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)


def save_with_thumbnails(folder: Path, count: int) -> Path:
    """Photographs as a NAS keeps them: two thumbnails of each in a folder of its own."""
    for number in range(count):
        image, name = picture(number, 600), f"IMG_{number:04d}.jpg"
        below = folder / "@eaDir" / name
        below.mkdir(parents=True)
        image.save(folder / name, quality=95)
        for kind, side in (("M", 320), ("XL", 480)):
            image.resize((side, side * 3 // 4), Image.Resampling.LANCZOS).save(below / f"THUMB_{kind}.jpg", quality=85)
    return folder


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


@pytest.mark.parametrize("framing", ["crop", None])
def test_thumbnails_are_the_work_that_they_show(tmp_path: Path, framing: str | None) -> None:
    portfolio = read_portfolio(save_with_thumbnails(tmp_path / "controls", 7), framing=framing)
    assert portfolio.count == 21 and count_works(portfolio) == 7
    works = keep_works(portfolio)
    # The photograph has the most pixels.
    assert sorted(target.path.name for target in works.targets) == [f"IMG_{number:04d}.jpg" for number in range(7)]
    assert works.count == 21 and len(works.same_works) == 14
    [sentence] = describe_same_works(works, "control")
    assert sentence.startswith("21 control files are 7 works: near copies and series count once")
    assert "THUMB_M.jpg: looks like" in sentence and "IMG_0000.jpg, which is measured; counted as one work" in sentence
    assert keep_works(works) == works and not list(describe_same_works(Portfolio([], []), "decoy"))


@pytest.mark.parametrize("factors", [[0.7 + 0.03 * step for step in range(20)], [0.4, 0.7, 1.0, 1.3]])
def test_pictures_in_several_brightnesses_are_as_many_works_as_pictures(factors: list[float], tmp_path: Path) -> None:
    for number in range(4):
        for step, factor in enumerate(factors):
            ImageEnhance.Brightness(picture(number)).enhance(factor).save(tmp_path / f"{number}-{step:02d}.png")
    portfolio = read_portfolio(tmp_path)
    assert len(portfolio.targets) == 4 * len(factors) and count_works(portfolio) == 4


def test_a_declared_series_is_one_work_whatever_its_images_show(tmp_path: Path) -> None:
    for number, place in enumerate(["wedding", "wedding", "wedding/raw", "harbour", "harbour", "", ""]):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        picture(number, 160 + 4 * number).save(tmp_path / place / f"{number}.png")
    picture(5, 80).save(tmp_path / "harbour" / "small.png")
    portfolio = read_portfolio(tmp_path)
    # The small copy joins the harbour series to the photograph outside of it.
    assert count_works(portfolio) == 7 and count_works(portfolio, Series.FOLDERS) == 3
    kept = {target.path.name for target in keep_works(portfolio, Series.FOLDERS).targets}
    assert kept == {"2.png", "5.png", "6.png"}
    by_hand = Portfolio(portfolio.targets, [])
    with pytest.raises(InputError, match="read from a folder"):
        group_targets(by_hand, Series.FOLDERS)


def test_a_file_that_is_gone_is_left_to_the_measurement(tmp_path: Path) -> None:
    folder = save_with_thumbnails(tmp_path / "controls", 2)
    portfolio = read_portfolio(folder, framing=None)
    (folder / "IMG_0000.jpg").unlink()
    assert len(keep_works(portfolio).targets) == 3 and not group_targets(Portfolio([], []))


def test_a_bank_measures_works_and_names_the_files_that_it_left_out(model: LoadedModel, tmp_path: Path) -> None:
    folder, notes = save_with_thumbnails(tmp_path / "controls", 3), list[str]()
    config = CONFIG.model_copy(update={"framing": Framing.CROP})
    made = calibrate(
        model, read_portfolio(folder), out=tmp_path / "bank.json", config=config,
        on_note=notes.append,
    )  # fmt: skip
    assert (len(made.controls), made.works, made.files) == (3, 3, 9)
    assert len(made.sources[0].sha256s) == 3 and len(made.sources[0].same_works) == 6
    assert any("9 control files are 3 works" in note for note in notes)


def test_the_plan_and_the_description_of_a_bank_count_works(tmp_path: Path) -> None:
    save_with_thumbnails(tmp_path / "controls", 7)
    (tmp_path / "mine").mkdir()
    picture(50).save(tmp_path / "mine" / "mine.png")

    def run(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.output

    # The model is not fetched, so that its cost is not measured.
    plan = ["audit", tmp_path / "mine", "--model", "no/where", "--controls", tmp_path / "controls", "--dry-run"]
    assert "21 control files are 7 works" in run(*plan) and "7 controls are too few" in run(*plan)
    assert "No image has a caption or a prompt" in run(*plan)
    # All thumbnails lie below one folder, which is then one series together with the photographs that they show.
    assert "21 control files are 1 work:" in run(*plan, "--series", "folders")
    copies = [measurement(f"c{n}", 0.1, [(0.5, 0.3)] * 4, pdq="0f" * 32) for n in range(3)]
    for name, part in (("a", copies[:1]), ("b", copies[1:])):
        build_bank(
            part, model="m", model_fingerprint="f", protocol=PROTOCOL, seed=0, note=name, made="now"
        ).write(tmp_path / f"{name}.json")  # fmt: skip
    merged = run("bank", "merge", tmp_path / "a.json", tmp_path / "b.json", "--out", tmp_path / "both.json")
    assert "3 control files are 1 work: near copies" in merged
    assert "3 control files are 1 work: near copies" in run("bank", "info", tmp_path / "both.json")


def test_an_audit_measures_one_control_and_one_decoy_of_every_work(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_with_thumbnails(tmp_path / "controls", 3)
    save_with_thumbnails(tmp_path / "decoys", 2)
    (tmp_path / "targets").mkdir()
    picture(50).save(tmp_path / "targets" / "mine.png")
    given = {name: read_portfolio(tmp_path / name, framing="pad") for name in ("targets", "controls", "decoys")}
    described: list[int] = []
    original = type(model.denoiser).encode

    def noted(self: object, images: object) -> object:
        described.append(len(images))  # type: ignore[arg-type]
        return original(self, images)  # type: ignore[arg-type]

    stages: list[tuple[str, int, int]] = []
    monkeypatch.setattr(type(model.denoiser), "encode", noted)
    result = audit(
        model, given["targets"], controls=given["controls"], decoys=given["decoys"], config=CONFIG,
        out=tmp_path / "run", on_progress=lambda *seen: stages.append(seen),
    )  # fmt: skip
    assert ("measuring controls", 3, 3) in stages and described[0] == 2
    summary = result.summary
    assert (summary.controls, summary.control_files, summary.control_works) == (3, 9, 3)
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "9 control files are 3 works" in page
    assert "9 control files are 3 works" in (tmp_path / "run" / "report" / "summary.md").read_text(encoding="utf-8")
    # The same folder continues the run, another does not.
    audit(model, given["targets"], controls=given["controls"], config=CONFIG, out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="other controls"):
        audit(model, given["targets"], controls=given["decoys"], config=CONFIG, out=tmp_path / "run")
    series = CONFIG.model_copy(update={"series": Series.FOLDERS})
    with pytest.raises(RunFolderError, match="series none, now folders"):
        audit(model, given["targets"], controls=given["controls"], config=series, out=tmp_path / "run")
