"""Two real runs compared: from the terminal, in a browser, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

from imgaudit.cli import app, main
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.exceptions import CalibrationError, InputError, RunFolderError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_image
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.report import ComparisonFormat, render_comparison, write_comparison
from imgaudit.runs.comparison.compare import compare
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.comparison import CHANGED, Change, Comparison
from imgaudit.schema.config import AuditConfig
from tests.support.records import bank as make_bank
from tests.support.wrapping import unwrap

HOSTILE = "'\"><img src=x onerror=alert(1)>{{7*7}}[red]"


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    coarse = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    return (((smooth + 1) * 127.5).round() / 127.5 - 1).contiguous()


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory, points: torch.Tensor) -> tuple[Path, Path]:
    """Model A lacks picture 1 and model B lacks picture 2; both hold picture 0; a broken file; hostile names."""
    portfolio_folder = tmp_path_factory.mktemp("portfolio")
    for number, name in enumerate(["plain", HOSTILE, "third"]):
        to_image(points[number]).save(portfolio_folder / f"{name}.png")
        (portfolio_folder / f"{name}.txt").write_text(str(number))
    (portfolio_folder / "=broken.png").write_bytes(b"no image")
    portfolio = read_portfolio(portfolio_folder, CaptionSource(portfolio_folder))
    made = []
    for letter, lacking in (("A", 1), ("B", 2)):
        known = points.clone()
        known[lacking] = points[4]
        model = LoadedModel(FiniteSetDenoiser(known), f"memoriser <script>{letter}", "FiniteSetDenoiser", {})
        options: dict[str, Any] = {"effort": "quick", "steps": 4, "seeds": 8, "framing": "pad"}
        config = AuditConfig.model_validate(options)
        run = RunFolder(tmp_path_factory.mktemp(letter))
        with run.lock():
            open_manifest(run.path, make_manifest(["imgaudit"], config, {}, model, portfolio))
            bank = make_bank(199, protocol=config.protocol, vae_error=0.0)
            # Invented controls look unlike the pictures, which would take the p-values that are to be compared.
            alike = [control.model_copy(update={"features": {}}) for control in bank.controls]
            bank.model_copy(update={"controls": alike}).write(run.calibration_path)
            assert len(list(measure_targets(run, portfolio, model, config))) == 3
            conclude(run)
        made.append(run.path)
    return made[0], made[1]


def imgaudit(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.stdout


def test_two_models_from_the_terminal(two_runs: tuple[Path, Path]) -> None:
    code, shown = imgaudit("compare", *two_runs)
    assert code == ExitCode.REPRODUCED
    said = unwrap(shown)
    assert "4 images in A or B (4 in A, 4 in B, 4 in both): 1 appeared, 1 disappeared, 1 unchanged, 1 not_comp" in said
    assert "holds for its budget only" in said and "onerror=alert" in shown.replace("\n", "").replace(" ", "")
    code, shown = imgaudit("compare", *two_runs, "--format", "json", "--fail-on", "never")
    assert code == ExitCode.DECIDED
    comparison = Comparison.model_validate_json(shown)
    appeared = next(image for image in comparison.images if image.change is Change.APPEARED)
    assert appeared.name.startswith(HOSTILE) and appeared.rates_differ
    code, shown = imgaudit("compare", two_runs[0], two_runs[0])
    assert code == ExitCode.INCOMPLETE and "same model in both runs" in unwrap(shown)
    code, shown = imgaudit("compare", *two_runs, "--format", "markdown")
    assert code == ExitCode.REPRODUCED and "\\<img src=x" in shown and " <img" not in shown


def test_reading_leaves_the_runs_as_they_are(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for run in two_runs for path in sorted(run.rglob("*")) if path.is_file()}

    before = contents()
    assert imgaudit("compare", *two_runs, "-f", "html", "-o", tmp_path / "out")[0] == ExitCode.REPRODUCED
    assert contents() == before


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return browser.new_page()


@pytest.mark.browser
def test_the_page_opens_from_disk_and_says_what_a_reviewer_needs(
    two_runs: tuple[Path, Path], tmp_path: Path, page: Page
) -> None:
    a, b = map(read_finished_run, two_runs)
    path = write_comparison(tmp_path / "out", compare(a, b), a.folder, b.folder)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append("a dialog opened"))
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(path.as_uri())
    page.evaluate("for (const i of document.images) i.loading = 'eager'")
    page.wait_for_function("() => Array.from(document.images).every(i => i.complete)")
    assert page.evaluate("Array.from(document.images).filter(i => i.naturalWidth === 0).length") == 0
    assert page.evaluate("document.querySelectorAll('img[src=x], script:not([src]), [style]').length") == 0
    assert problems == []
    text = page.locator("body").inner_text()
    for part in (
        HOSTILE, "memoriser <script>B", "Appeared in B", "No longer reproduced in B", "No change shown",
        "1 + 1 + 1 + 1 = 4 images in A or B", "1 of 4 images cannot be compared", "within its budget only", "q = ",
        "Fisher", "Newcombe", "0 of 8", "8 of 8", a.manifest.model.fingerprint,
    ):  # fmt: skip
        assert part in text, part
    assert page.locator("article.change .pair img").count() == 6
    assert page.locator("h2").first.inner_text() == "What differs besides the model"


def test_missing_and_hostile_pictures_are_said(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(two_runs[1], run)
    a, b = read_finished_run(two_runs[0]), read_finished_run(run)
    comparison = compare(a, b)
    shown = [image for image in comparison.images if image.change in CHANGED]
    outside = tmp_path / "outside.png"
    Image.new("RGB", (4, 4)).save(outside)
    replicas = [image.b.best_replica.path for image in shown]  # type: ignore[union-attr]
    (run / replicas[0]).unlink()
    (run / replicas[1]).unlink()
    (run / replicas[1]).symlink_to(outside)
    out = tmp_path / "out"
    write_comparison(out, comparison, a.folder, b.folder)
    text = (out / "index.html").read_text()
    assert text.count("No picture: ") == 2 and "cannot be opened" in text and "leads out of the run folder" in text
    (run / replicas[1]).unlink()
    (run / replicas[1]).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    write_comparison(out, comparison, a.folder, b.folder)
    assert "is damaged" in (out / "index.html").read_text()
    assert {path.name for path in out.iterdir()} == {
        "index.html", "glossary.html", "comparison.json", "assets", "images",
    }  # fmt: skip


def test_nothing_is_written_over_something_else(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = map(read_finished_run, two_runs)
    comparison = compare(a, b)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    for folder, message in (
        (tmp_path / "full", "not empty and not a comparison"),
        (tmp_path / "file", "is a file"),
        (two_runs[1] / "comparison", "is evidence"),
    ):
        with pytest.raises(InputError, match=message):
            write_comparison(folder, comparison, a.folder, b.folder)
    out = tmp_path / "out"
    write_comparison(out, comparison, a.folder, b.folder)
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    write_comparison(out, comparison, a.folder, b.folder)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first
    with pytest.raises(ValueError, match="HTML is a folder"):
        render_comparison(comparison, ComparisonFormat.HTML)


def test_a_record_without_what_decides_is_lost(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(two_runs[1], run := tmp_path / "run")
    records = RunFolder(run)
    measured = records.read_measurements()[0]
    records.records_path.unlink()
    for one in measured:
        record = one.model_dump(mode="json") | {"stage": "measured"}
        record["rungs"]["caption"]["replicas"][0]["similarity"] = {"pdq": 1.0}
        records.append_record(record)
    result = compare(read_finished_run(two_runs[0]), read_finished_run(run))
    assert result.compared == 0
    assert all("run B has lost its record" in image.reason for image in result.images if image.sha256)


def _edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        content = json.loads((run / name).read_text())
        change(content)
        (run / name).write_text(json.dumps(content))

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda run: (run / "manifest.json").unlink(), "not a run folder"),
    "no report": (lambda run: (run / "report.json").unlink(), "not a finished run"),
    "half a report": (lambda run: (run / "report.json").write_text('{"run": '), "cannot be read"),
    "another report": (lambda run: (run / "report.json").write_text("[]"), "is damaged or of another version"),
    "deep report": (lambda run: (run / "report.json").write_text("[" * 100_000), "cannot be read"),
    "bank": (lambda run: (run / "calibration.json").write_text("{}"), "not a null bank"),
    "model": (_edit("report.json", lambda r: r["run"]["model"].update(fingerprint="x")), "model is not the manifest's"),
    "model gone": (_edit("report.json", lambda r: r["run"].update(model=3)), "model is not the manifest's"),
    "protocol": (_edit("report.json", lambda r: r["protocol"].update(framing="crop")), "protocol is not the manifest"),
    "redecided": (_edit("report.json", lambda r: r["policy"].update(level=0.2)), "by which policy it was decided"),
    "twice": (_edit("report.json", lambda r: r["findings"].append(r["findings"][0])), "twice"),
    "target twice": (_edit("manifest.json", lambda m: m["targets"].append(m["targets"][0])), "an image twice"),
    "no hash": (_edit("manifest.json", lambda m: m["targets"][0].update(sha256="../..")), "sha256 is not one"),
    "stranger": (_edit("report.json", lambda r: r["findings"][0].update(id="0" * 16)), "of no image in the manifest"),
    "path": (
        _edit("report.json", lambda r: r["findings"][0]["best_replica"].update(path="../../x.png")),
        "a file outside its place",
    ),
    "another's picture": (
        _edit(
            "report.json",
            lambda r: r["findings"][0]["best_replica"].update(path=r["findings"][1]["best_replica"]["path"]),
        ),
        "a file outside its place",
    ),
    "surrogate": (_edit("report.json", lambda r: r["findings"][0].update(path="\udc80")), "is damaged"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_refused_with_a_message(
    damage: Callable[[Path], Any],
    message: str,
    two_runs: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(two_runs[1], run)
    damage(run)
    with pytest.raises((RunFolderError, CalibrationError)):
        read_finished_run(run)
    monkeypatch.setattr("sys.argv", ["imgaudit", "compare", str(two_runs[0]), str(run)])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = unwrap(capsys.readouterr().err)
    assert stop.value.code == ExitCode.COULD_NOT_RUN
    assert message in shown and "Traceback" not in shown and "unexpected error in imgaudit" not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--format", "csv"], "--format must be one of"), (["--out", "x"], "--out is the folder of --format html")],
)
def test_options_that_make_no_sense(options: list[str], message: str, two_runs: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(app, ["compare", *map(str, two_runs), *options], catch_exceptions=False)
