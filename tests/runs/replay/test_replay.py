"""Pictures of a run generated again: an honest run gives them again, and each kind of forgery is found and named."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgaudit import verify
from imgaudit.exceptions import VerificationError
from imgaudit.models.loading import LoadedModel, load_model
from imgaudit.runs.finished import FinishedRun, read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.replay.replay import describe_decision, replay_run
from imgaudit.runs.replay.request import ReplayRequest
from imgaudit.schema.records import Measurement, Replica, Rung, RungMeasurement
from tests.support.demo_run import make_demo_run, rewrite_records


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("demo", "cpu")


@pytest.fixture(scope="module")
def run(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_demo_run(model, tmp_path_factory.mktemp("demo"))


@pytest.fixture
def copy(run: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(run.path, tmp_path / "copy")
    return RunFolder(tmp_path / "copy")


def replay_problems(run: FinishedRun, model: LoadedModel) -> str:
    return "\n".join(replay_run(run, ReplayRequest(model, None, 0, 8))[1].problems)


def change_replicas(measurement: Measurement, rung: Rung, **values: object) -> Measurement:
    """Change the first replica of a rung."""
    measured = measurement.ladder(rung)
    assert isinstance(measured, RungMeasurement)
    first, *others = measured.replicas
    replicas: list[Replica] = [replace(first, **values), *others]
    rungs = measurement.rungs | {rung: measured.model_copy(update={"replicas": replicas})}
    return measurement.model_copy(update={"rungs": rungs})


def first_picture(run: RunFolder, rung: Rung, number: int = 0) -> Path:
    return sorted(run.path.glob(f"images/*/replicas/{rung.value}-g3-{number:04d}.png"))[0]


def test_every_picture_of_an_honest_run_comes_back(run: RunFolder, model: LoadedModel) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    verification = verify(run.path, replay=ReplayRequest(model, None, 7, 4))
    assert verification.matches and verification.replay is not None
    replay = verification.replay
    assert len(replay.replayed) == replay.pictures == 2 * 2 * 3
    for one in replay.replayed:
        assert isinstance(one.largest, float) and one.largest <= replay.tolerance.largest
        assert isinstance(one.decided, tuple) and one.decided[0] is one.decided[1] and not one.problems
        assert describe_decision(one) in ("copy", "no copy")
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_verification_without_a_model_says_that_nothing_was_generated(run: RunFolder) -> None:
    verification = verify(run.path)
    assert verification.replay is None
    assert any("--replay 8 --model MODEL" in one for check in verification.checks for one in check.not_done)


def test_the_picture_of_another_seed_is_found(copy: RunFolder, model: LoadedModel) -> None:
    forged, other = (first_picture(copy, Rung.CAPTION, number) for number in (0, 1))
    shutil.copy(other, forged)
    problems = replay_problems(read_finished_run(copy.path), model)
    assert f"{forged.relative_to(copy.path).as_posix()}' is not what the model generates" in problems
    assert problems.count("is not what the model generates") == 1


def test_a_chosen_seed_is_found_even_where_its_picture_is_the_models_own(copy: RunFolder, model: LoadedModel) -> None:
    forged = rewrite_records(copy, lambda one: change_replicas(one, Rung.EMBEDDING, seed=12345))
    problems = replay_problems(forged, model)
    name = first_picture(copy, Rung.EMBEDDING).relative_to(copy.path).as_posix()
    assert f"{name!r} has the seed 12345, where the run seed 0 gives" in problems
    assert f"{name!r} is not what the model generates" in problems


def test_a_changed_embedding_is_found(copy: RunFolder, model: LoadedModel) -> None:
    path = sorted(copy.path.glob("images/*/embeds.safetensors"))[0]
    tensors = load_file(path)
    save_file({name: tensor + 0.5 * tensor.std() for name, tensor in tensors.items()}, path)
    problems = replay_problems(read_finished_run(copy.path), model)
    assert f"{path.parent.relative_to(copy.path).as_posix()}/replicas/embedding-g3-0000.png' is not what" in problems
    assert "caption" not in problems
    save_file({name: tensor[:1] for name, tensor in tensors.items()}, path)
    assert "embeds.safetensors' holds tensors of" in replay_problems(read_finished_run(copy.path), model)
    path.write_bytes(b"no tensors")
    assert f"{path.name}' cannot be read" in replay_problems(read_finished_run(copy.path), model)


def test_a_changed_guidance_scale_is_found(copy: RunFolder, model: LoadedModel) -> None:
    forged = rewrite_records(copy, lambda one: change_replicas(one, Rung.CAPTION, guidance_scale=7.5))
    problems = replay_problems(forged, model)
    name = first_picture(copy, Rung.CAPTION).relative_to(copy.path).as_posix()
    assert f"{name!r} is recorded with guidance scale 7.5, which its name denies" in problems
    assert f"{name!r} is not what the model generates" in problems


def test_a_changed_text_is_found(copy: RunFolder, model: LoadedModel) -> None:
    def reword(one: Measurement) -> Measurement:
        measured = one.ladder(Rung.CAPTION)
        assert isinstance(measured, RungMeasurement)
        return one.model_copy(
            update={"rungs": one.rungs | {Rung.CAPTION: measured.model_copy(update={"texts": ["a boat"]})}}
        )

    problems = replay_problems(rewrite_records(copy, reword), model)
    assert problems.count("is not what the model generates") == 2 * 3 and "embedding" not in problems


def test_another_rendering_than_the_models_is_found(copy: RunFolder, model: LoadedModel) -> None:
    # A rendering that is the generated picture itself would make every similarity 1.
    picture = first_picture(copy, Rung.CAPTION)
    shutil.copy(picture, picture.parent.parent / "rendered.png")
    problems = replay_problems(read_finished_run(copy.path), model)
    assert "/rendered.png' is not how the model renders target.png" in problems


def test_a_missing_picture_is_a_problem_and_no_error(copy: RunFolder, model: LoadedModel) -> None:
    forged = first_picture(copy, Rung.CAPTION)
    forged.write_bytes(b"no picture")
    assert f"{forged.name}' is missing or damaged" in replay_problems(read_finished_run(copy.path), model)


def test_another_model_is_refused_and_both_are_named(run: RunFolder, model: LoadedModel) -> None:
    other = replace(model, name="other", mitigation="attention factor=1.25")
    with pytest.raises(VerificationError, match=r"with the model 'demo' .* 'other' .*mitigation 'none' there"):
        replay_run(read_finished_run(run.path), ReplayRequest(other, 1, 0))
    with torch.no_grad():
        half = load_model("demo", "cpu")
        half.denoiser.network.to(torch.bfloat16)  # type: ignore[attr-defined]
    with pytest.raises(VerificationError, match="precision float32 there, bfloat16 here"):
        replay_run(read_finished_run(run.path), ReplayRequest(half, 1, 0))
