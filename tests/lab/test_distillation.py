"""Distilled labs: the student takes the guidance scale as an input and imitates the guided teacher."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import CorpusEntry, read_corpus
from imgaudit.lab.description import LabDescription
from imgaudit.lab.distillation import distil_lab, make_student
from imgaudit.lab.examination import describe_lab
from imgaudit.lab.recipe import DistillationRecipe, LabRecipe
from imgaudit.lab.training import save_pipeline, train_lab
from imgaudit.models import load_model
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.models.families.unet import AnyUNetDenoiser, UNetDenoiser
from tests.conftest import CAPTIONS, make_pipeline, tiny_recipe
from tests.lab.conftest import SPLIT
from tests.support.tiny_sdxl import make_sdxl
from tests.support.tiny_transformers import adapt, make_sd3

QUICK = DistillationRecipe(teacher="tiny", steps=5, embedding_width=8)


@pytest.fixture
def entries(corpus: Path) -> list[CorpusEntry]:
    return read_corpus(corpus)


def make_teacher(family: str) -> AnyUNetDenoiser:
    if family == "sdxl":
        return SDXLDenoiser(make_sdxl(), "fingerprint")
    return UNetDenoiser(make_pipeline(tiny_recipe(prediction_type=family)), "fingerprint")


def predict_guided(model: AnyUNetDenoiser, scales: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    noisy = torch.randn((len(scales), *model.latent_shape), generator=generator)
    conditions = model.condition([CAPTIONS[0]] * len(scales))
    with torch.no_grad():
        return model.call_unet(noisy, torch.full((len(scales),), 500), conditions, scales)


@pytest.mark.parametrize("family", ["epsilon", "v_prediction", "sdxl"])
def test_before_its_first_step_a_student_predicts_as_its_teacher_at_any_scale(family: str) -> None:
    teacher = make_teacher(family)
    student = make_student(teacher, 8)
    scales = torch.tensor([1.0, 3.0, 7.5])
    torch.testing.assert_close(predict_guided(student, scales), predict_guided(teacher, scales))
    assert teacher.is_guided_by_null and not student.is_guided_by_null
    assert "guidance-distilled" in student.no_null and not teacher.no_null
    assert student.pipeline.vae is teacher.pipeline.vae


def distil(entries: list[CorpusEntry], recipe: DistillationRecipe, folder: Path, **options: Any) -> dict[str, Any]:
    trained = distil_lab(make_teacher("epsilon"), entries, tiny_recipe(**SPLIT), recipe, folder, **options)
    return dict(trained.pipeline.unet.state_dict())


def test_a_student_comes_closer_to_its_guided_teacher(entries: list[CorpusEntry], tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = QUICK.model_copy(update={"steps": 40})
    weights = distil(entries, recipe, tmp_path, progress=lambda step, steps, loss: losses.append(loss))
    assert len(losses) == 40 and sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert float(weights["time_embedding.cond_proj.weight"].abs().max()) > 0


def test_a_stopped_distillation_ends_as_one_that_was_not(entries: list[CorpusEntry], tmp_path: Path) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    whole = distil(entries, QUICK, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        distil(entries, QUICK, tmp_path / "stopped", progress=stop)
    steps: list[int] = []
    continued = distil(entries, QUICK, tmp_path / "stopped", progress=lambda step, of, loss: steps.append(step))
    assert steps == [3, 4, 5], "checkpoints are written every 2 steps"
    assert all(torch.equal(weight, continued[name]) for name, weight in whole.items())
    other = distil(entries, QUICK.model_copy(update={"seed": 1}), tmp_path / "other")
    assert not all(torch.equal(weight, other[name]) for name, weight in whole.items())


def test_a_teacher_without_a_null_prediction_is_refused(entries: list[CorpusEntry], tmp_path: Path) -> None:
    lab = tiny_recipe(**SPLIT)
    for teacher in (make_student(make_teacher("epsilon"), 8), adapt(make_sd3())):
        with pytest.raises(InputError, match="guided by its null prediction"):
            distil_lab(teacher, entries, lab, QUICK, tmp_path)


def make_lab(entries: list[CorpusEntry], recipe: LabRecipe, folder: Path) -> LabDescription:
    from imgaudit.diffusion.executor import Executor

    trained = train_lab(entries, recipe, folder)
    save_pipeline(trained.pipeline, folder / "model")
    denoiser = load_model(str(folder / "model"), "cpu").denoiser
    description = describe_lab(entries, recipe, trained, denoiser, Executor(64))
    description.write(folder / "lab.json")
    return description


def test_the_command_leaves_a_lab_that_says_how_it_was_made(
    corpus: Path, entries: list[CorpusEntry], tmp_path: Path
) -> None:
    teacher = make_lab(entries, tiny_recipe(**SPLIT), tmp_path / "teacher")
    words = ["lab", "distil", str(tmp_path / "teacher"), "--images", str(corpus), "--out", str(tmp_path / "student")]
    result = CliRunner().invoke(app, [*words, "--steps", "2", "--seed", "5", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "lab tiny-distilled: 2 planted, 3 seen_once, 5 held_out, 10 background" in result.stdout
    student = LabDescription.read(tmp_path / "student" / "lab.json")
    assert student.distillation == DistillationRecipe(teacher="tiny", steps=2, seed=5)
    assert student.autoencoder == "tiny"
    assert [(image.sha256, image.role) for image in student.images] == [
        (image.sha256, image.role) for image in teacher.images
    ]
    denoiser = load_model(str(tmp_path / "student" / "model"), "cpu").denoiser
    assert "guidance-distilled" in denoiser.no_null
    assert "distillation" not in teacher.model_dump(mode="json")

    background = next(entry for entry in entries if entry.role == "background")
    with pytest.raises(InputError, match="leave 9 for the background, where the lab has 10"):
        teacher.require_corpus([entry for entry in entries if entry is not background])
    planted = next(entry for entry in entries if entry.role == "planted")
    planted.path.write_bytes(background.path.read_bytes())
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception).endswith(f"'{planted.path.name}' would be planted, and there it is none of them")
