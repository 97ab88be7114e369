"""The whole audit on tiny real models: any diffusers folder, resumed runs, other batch sizes, hostile files."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

import imgaudit.runs.engine.chunk
from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import InputError, MemoryShortageError, RunFolderError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import LoadedModel, load_model
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest, resume_portfolio
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.work import added_look_work, expected_work
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult, Verdict
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Measurement, Rung, RungMeasurement
from tests.conftest import random_image

OPTIONS: dict[str, Any] = {
    "steps": 3, "draws": 4, "seeds": 3, "num_inference_steps": 3, "chunk_size": 2, "device": "cpu",
    "framing": Framing.PAD, "level": 0.2,
}  # fmt: skip


def audit(
    folder: Path,
    model: LoadedModel,
    out: Path,
    *,
    bank: NullBank | None = None,
    stop_after: int | None = None,
    **options: Any,
) -> AuditResult:
    """An audit as the command makes it; `stop_after` leaves it as a kill would."""
    config = AuditConfig.model_validate(OPTIONS | options)
    portfolio = read_portfolio(folder, CaptionSource(folder))
    run = RunFolder(out)
    with run.lock():
        manifest = make_manifest(["imgaudit"], config, {}, model, portfolio)
        portfolio = resume_portfolio(portfolio, open_manifest(run.path, manifest))
        if bank is not None:
            bank.write(run.calibration_path)
        for count, _ in enumerate(measure_targets(run, portfolio, model, config), 1):
            if count == stop_after:
                break
        return conclude(run)


def comparable(result: AuditResult) -> list[dict[str, Any]]:
    """Findings without what clocks decide."""
    rows = [finding.model_dump(mode="json") for finding in result.findings]
    for row in rows:
        row.pop("seconds")
    return rows


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


@pytest.fixture
def bank(make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path) -> NullBank:
    controls = make_folder("controls", range(50, 60))
    config = AuditConfig.model_validate(OPTIONS)
    portfolio = read_portfolio(controls, CaptionSource(controls))
    return measure_bank(tmp_path / "work", portfolio, model, config, note="other seeds")


@pytest.mark.parametrize("which", ["model_folder", "other_model_folder"])
def test_any_folder_of_these_classes_is_audited(
    which: str, request: pytest.FixtureRequest, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    model = load_model(str(request.getfixturevalue(which)), "cpu")
    result = audit(make_folder("portfolio", range(3)), model, tmp_path / "run")
    assert [finding.verdict for finding in result.findings] == [Verdict.INCONCLUSIVE] * 3
    protocol = AuditConfig.model_validate(OPTIONS).protocol.for_model(model.denoiser.prediction_type)
    assert {f.network_evaluations for f in result.findings} == {expected_work(protocol, 3, captioned=True).evaluations}
    measurements, _ = RunFolder(tmp_path / "run").read_measurements()
    for measurement in measurements:
        for rung in (Rung.CAPTION, Rung.EMBEDDING):
            measured = measurement.rungs[rung]
            assert isinstance(measured, RungMeasurement)
            assert [(tmp_path / "run" / replica.path).is_file() for replica in measured.replicas] == [True] * 3


def test_a_stopped_and_resumed_audit_equals_an_uninterrupted_one(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(5))
    whole = audit(folder, model, tmp_path / "whole", bank=bank)
    partial = audit(folder, model, tmp_path / "stopped", bank=bank, stop_after=3)
    assert len(partial.findings) == 3 and partial.summary.targets == 5
    records = tmp_path / "stopped" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-40])
    resumed = audit(folder, model, tmp_path / "stopped", bank=bank)
    assert comparable(resumed) == comparable(whole)
    before = records.read_bytes()
    assert comparable(audit(folder, model, tmp_path / "stopped", bank=bank)) == comparable(whole)
    assert records.read_bytes() == before


def test_another_batch_or_chunk_size_gives_the_same_verdicts(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(4))
    first = audit(folder, model, tmp_path / "first", bank=bank)
    for number, options in enumerate(({"batch_size": 3}, {"chunk_size": 4}, {"batch_size": 1, "chunk_size": 1})):
        other = audit(folder, model, tmp_path / f"other{number}", bank=bank, **options)
        for left, right in zip(first.findings, other.findings, strict=True):
            assert left.id == right.id and left.verdict is right.verdict
            assert left.score == pytest.approx(right.score, abs=1e-3)


def test_a_killed_calibration_continues(make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path) -> None:
    folder = make_folder("controls", range(4))
    config = AuditConfig.model_validate(OPTIONS)
    portfolio = read_portfolio(folder, CaptionSource(folder))

    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        measure_bank(tmp_path / "work", portfolio, model, config, note="s", on_progress=kill)
    spent = model.denoiser.network_evaluations
    resumed = measure_bank(tmp_path / "work", portfolio, model, config, note="s")
    half = model.denoiser.network_evaluations - spent
    protocol = config.protocol.for_model("epsilon")
    each = expected_work(protocol, 3, captioned=True) + added_look_work(protocol, FirstLookConfig())
    assert half == 2 * each.evaluations
    fresh = measure_bank(tmp_path / "again", portfolio, model, config, note="s")
    assert resumed.controls == fresh.controls and not (tmp_path / "work").exists()


def test_what_cannot_be_read_is_skipped_and_said(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(2))
    (folder / "broken.png").write_bytes(b"\x89PNG broken")
    shutil.copy(folder / "picture-000.png", folder / "twin.png")
    random_image(7).save(folder / "<img src=x onerror=alert(1)>[red].png")
    result = audit(folder, model, tmp_path / "run")
    assert result.summary.targets == 5 == sum(result.summary.counts.values())
    reasons = {Path(f.path).name: f.reason for f in result.findings if f.verdict is Verdict.SKIPPED}
    assert "not an image" in reasons["broken.png"] or "damaged" in reasons["broken.png"]
    assert "identical to" in reasons["twin.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image files"):
        read_portfolio(tmp_path / "empty", CaptionSource(tmp_path / "empty"))


def test_an_image_on_which_the_model_overflows_is_skipped_and_stops_nothing(
    make_folder: Callable[..., Path], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("portfolio", range(3))
    model = load_model(str(model_folder), "cpu")
    encode = type(model.denoiser).encode
    dark = read_portfolio(folder, CaptionSource(folder)).targets[0].image.sha256

    def overflowing(self: Any, images: torch.Tensor) -> torch.Tensor:
        latents = encode(self, images)
        latents[0] = torch.inf
        return latents

    monkeypatch.setattr(type(model.denoiser), "encode", overflowing)
    result = audit(folder, model, tmp_path / "run", chunk_size=3)
    skipped = [f for f in result.findings if f.verdict is Verdict.SKIPPED]
    assert len(skipped) == 1 and "not finite" in skipped[0].reason
    assert len(result.findings) == 3 and dark not in {f.sha256 for f in result.findings}


def test_a_run_folder_of_another_audit_is_refused(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(2))
    audit(folder, model, tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"inversion\.steps 3, now 4"):
        audit(folder, model, tmp_path / "run", steps=4)
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(RunFolderError, match="other prompts or captions"):
        audit(folder, model, tmp_path / "run")
    with pytest.raises(RunFolderError, match="not empty and not an audit"):
        audit(folder, model, folder)


def test_a_finished_run_is_decided_again_without_the_model(
    make_folder: Callable[..., Path], model: LoadedModel, bank: NullBank, tmp_path: Path
) -> None:
    first = audit(make_folder("portfolio", range(3)), model, tmp_path / "run", bank=bank)
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "run", moved)
    spent = model.denoiser.network_evaluations
    assert comparable(conclude(RunFolder(moved))) == comparable(first)
    assert model.denoiser.network_evaluations == spent


def test_one_image_that_breaks_the_measurement_stops_no_other(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("portfolio", range(4))
    broken = read_portfolio(folder, CaptionSource(folder)).targets[1].image
    measure = imgaudit.runs.engine.chunk.measure_chunk

    def fragile(context: Any, loaded: Any) -> Any:
        if any(one.target.image.sha256 == broken.sha256 for one in loaded):
            raise ZeroDivisionError("this very image")
        return measure(context, loaded)

    monkeypatch.setattr(imgaudit.runs.engine.chunk, "measure_chunk", fragile)
    result = audit(folder, model, tmp_path / "run", chunk_size=4)
    skipped = [finding for finding in result.findings if finding.verdict is Verdict.SKIPPED]
    assert len(result.findings) == 4 and len(skipped) == 1
    assert "measuring it failed: ZeroDivisionError: this very image" in skipped[0].reason


def test_memory_that_holds_no_single_image_ends_the_audit_with_a_word(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *arguments: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(type(model.denoiser), "predict", full)
    with pytest.raises(MemoryShortageError, match="not even one image"):
        audit(make_folder("portfolio", range(2)), model, tmp_path / "run")
    assert RunFolder(tmp_path / "run").recorded().finished == set()


def test_files_that_come_go_and_change_leave_a_run_what_it_was(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(5), captions=False)
    whole = audit(folder, model, tmp_path / "whole")
    audit(folder, model, tmp_path / "run", stop_after=2)
    finished = RunFolder(tmp_path / "run").recorded().finished
    later = [t for t in read_portfolio(folder, CaptionSource(folder)).targets if t.image.id not in finished]
    kept = {target.path: target.path.read_bytes() for target in later[:2]}
    later[0].path.unlink()
    random_image(77).save(later[1].path)
    random_image(78).save(folder / "new.png")
    result = audit(folder, model, tmp_path / "run")
    assert result.summary.targets == 5 == len(result.findings)
    skipped = {finding.path: finding.reason for finding in result.findings if finding.verdict is Verdict.SKIPPED}
    assert set(skipped) == {str(path) for path in kept}
    assert all("now it is gone, or another one" in reason for reason in skipped.values())
    for path, data in kept.items():
        path.write_bytes(data)
    assert comparable(audit(folder, model, tmp_path / "run")) == comparable(whole)


def test_damaged_images_of_a_run_are_skipped_with_what_to_do(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(3))
    whole = audit(folder, model, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    name = whole.findings[1].id
    replica = next((run.image_folder(name) / "replicas").iterdir())
    replica.write_bytes(replica.read_bytes()[:100])
    result = conclude(run)
    [skipped] = [finding for finding in result.findings if finding.verdict is Verdict.SKIPPED]
    assert skipped.path == whole.findings[1].path and f"delete images/{name}" in skipped.reason
    shutil.rmtree(run.image_folder(name))
    assert run.recorded().lost == 1
    assert comparable(audit(folder, model, tmp_path / "run")) == comparable(whole)


def test_records_that_point_outside_the_run_are_no_records(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    audit(make_folder("portfolio", range(1)), model, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    [measurement], _ = run.read_measurements()
    honest = measurement.model_dump(mode="json")
    for change in ({"id": "../../../etc"}, {"id": "0" * 15 + "/"}, {"sha256": "x"}):
        with pytest.raises(ValidationError):
            Measurement.model_validate(honest | change)
    for path in ("/etc/passwd", "images/../../x.png", "images/0123456789abcdef/replicas/../x.png", "x\n.png"):
        honest["rungs"]["embedding"]["replicas"][0]["path"] = path
        with pytest.raises(ValidationError):
            Measurement.model_validate(honest)


def test_a_caption_inside_the_file_is_asked_with(model: LoadedModel, tmp_path: Path) -> None:
    folder = tmp_path / "portfolio"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010E] = "a red fox"
    random_image(1).save(folder / "a.jpg", exif=exif)
    result = audit(folder, model, tmp_path / "run")
    assert [one.rung for one in result.findings[0].replication] == [Rung.CAPTION, Rung.PARAPHRASE, Rung.EMBEDDING]
    [measurement], _ = RunFolder(tmp_path / "run").read_measurements()
    caption = measurement.rungs[Rung.CAPTION]
    assert isinstance(caption, RungMeasurement) and caption.texts == ["a red fox"]
    assert measurement.notes == ["caption from the image's own EXIF"]
    for path in (tmp_path / "run").rglob("*.png"):
        assert b"red fox" not in path.read_bytes()


def test_an_image_that_framing_leaves_one_colour_of_is_skipped(model: LoadedModel, tmp_path: Path) -> None:
    folder = tmp_path / "portfolio"
    folder.mkdir()
    wide = Image.new("RGB", (300, 20), (10, 200, 30))
    wide.putpixel((0, 0), (255, 0, 0))
    wide.save(folder / "wide.png")
    random_image(1).save(folder / "a.png")
    result = audit(folder, model, tmp_path / "run", framing=Framing.CROP)
    reasons = {Path(finding.path).name: finding.reason for finding in result.findings}
    assert "is a single colour at the model's size, framed by crop" in reasons["wide.png"]
    assert "Not measured" not in reasons["a.png"]


def test_a_run_without_lpips_says_why_and_one_with_it_is_another(
    make_folder: Callable[..., Path], model: LoadedModel, tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(1))
    config = AuditConfig.model_validate(OPTIONS)
    portfolio = read_portfolio(folder, CaptionSource(folder))
    without = {"pixel": "x", "lpips": "skipped: its backbone is not on this machine"}
    run = RunFolder(tmp_path / "run")

    def begin(measures: dict[str, str]) -> None:
        open_manifest(run.path, make_manifest(["a"], config, {}, model, portfolio, measures=measures))

    begin(without)
    begin(without | {"lpips": "skipped: for another reason"})
    with pytest.raises(RunFolderError, match="measures lpips available only in one"):
        begin(without | {"lpips": "lpips 0.1.4"})
