"""LoRAs that are trained to memorise: read as any stranger's, give images back, and are counted by groups."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from imgaudit.benchmark.methods.lab_commands import copy_images, run_command
from imgaudit.benchmark.methods.lora import ELSEWHERE, IN_BASE, IN_LORA, report_lora
from imgaudit.benchmark.settings import LoraSettings
from imgaudit.cli import app
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.io.framing import to_batch
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.lab.corpus import read_corpus, read_pixels
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.lab.lora_training import LoraRecipe, train_lora
from imgaudit.lab.truth import Subject, measure_truth
from imgaudit.models import load_model
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.loading import bundled_lab
from imgaudit.runs.comparison.compare import compare
from imgaudit.schema.comparison import Change
from imgaudit.schema.findings import Verdict
from imgaudit.schema.protocol import Framing
from tests.conftest import CAPTIONS, make_pipeline, tiny_recipe
from tests.runs.comparison.test_compare import finished, judged
from tests.support.tiny_transformers import make_sd3

QUICK = LoraRecipe(rank=4, steps=30, batch_size=4, seed=1)


def open_denoiser(folder: Path, *loras: str) -> LatentDenoiser:
    denoiser = load_model(str(folder), "cpu", loras).denoiser
    assert isinstance(denoiser, LatentDenoiser)
    return denoiser


def pictures(denoiser: LatentDenoiser) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand((2, 3, denoiser.resolution, denoiser.resolution), generator=generator) * 2 - 1


@pytest.mark.parametrize("family", ["unet", "transformer"])
def test_a_trained_lora_is_read_as_any_other_and_predicts_its_images_better(family: str, tmp_path: Path) -> None:
    pipeline = make_pipeline(tiny_recipe()) if family == "unet" else make_sd3()
    pipeline.save_pretrained(tmp_path / "model", safe_serialization=True)
    denoiser = open_denoiser(tmp_path / "model")
    images, losses = pictures(denoiser), []
    path = train_lora(
        denoiser, images, CAPTIONS[:2], QUICK, tmp_path / "lora", lambda step, steps, loss: losses.append(loss)
    )
    assert len(losses) == QUICK.steps and sum(losses[-8:]) < sum(losses[:8])
    base, fused = open_denoiser(tmp_path / "model"), open_denoiser(tmp_path / "model", str(path))
    x0, noise = base.encode(images), torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(3))
    timesteps = torch.tensor([300, 800])
    errors = []
    for model in (base, fused):
        prediction = model.predict(
            model.schedule.add_noise(x0, noise, timesteps), timesteps, model.condition(CAPTIONS[:2])
        )
        target = model.schedule.target(model.prediction_type, x0, noise, timesteps)
        errors.append(float((prediction.output - target).square().mean()))
    assert errors[1] < errors[0]


def test_one_seed_makes_one_lora(model_folder: Path, tmp_path: Path) -> None:
    files = []
    for name, seed in (("a", 1), ("again", 1), ("other", 2)):
        denoiser = open_denoiser(model_folder)
        recipe = QUICK.model_copy(update={"steps": 3, "seed": seed})
        files.append(load_file(train_lora(denoiser, pictures(denoiser), CAPTIONS[:2], recipe, tmp_path / name)))
    assert all(torch.equal(weight, files[1][name]) for name, weight in files[0].items())
    assert not all(torch.equal(weight, files[2][name]) for name, weight in files[0].items())


def test_a_training_that_cannot_be_is_refused(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = open_denoiser(model_folder)
    with pytest.raises(InputError, match="got 2 and 1"):
        train_lora(denoiser, pictures(denoiser), CAPTIONS[:1], QUICK, tmp_path)
    with pytest.raises(InputError, match="got 0 and 0"):
        train_lora(denoiser, pictures(denoiser)[:0], [], QUICK, tmp_path)
    monkeypatch.setattr("imgaudit.lab.lora_training.LAYERS", ("nowhere",))
    with pytest.raises(ModelRefusedError, match="none of the layers"):
        train_lora(denoiser, pictures(denoiser), CAPTIONS[:2], QUICK, tmp_path)
    monkeypatch.setattr("imgaudit.lab.lora_training.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelRefusedError, match="pip install"):
        train_lora(denoiser, pictures(denoiser), CAPTIONS[:2], QUICK, tmp_path)


def test_the_report_counts_by_groups() -> None:
    names = {IN_LORA: ["a", "b"], ELSEWHERE: ["c", "d", "e"], IN_BASE: ["f"]}
    before, after = (Verdict.NOT_REPRODUCED, 0, 0), (Verdict.REPLICATED, 16, 16)
    ends: dict[str, Any] = {"a": after, "b": after, "f": after, "d": after}
    first = finished([judged(name, *(after if name == "f" else before)) for name in "abcdef"])
    second = finished([judged(name, *ends.get(name, before)) for name in "abcdef"], model="b")
    comparison = compare(first, second)
    by_path = {Path(image.name).stem: image.sha256 for image in comparison.images}
    groups = {group: [lab_image(by_path[name]) for name in members] for group, members in names.items()}
    report = report_lora(comparison, groups, lab="x", settings=LoraSettings(rank=2, steps=3), commands=[])
    counts = {(one.group, one.name): (one.hits, one.n) for one in report.rates}
    assert counts[IN_LORA, "reproduced by the base"] == (0, 2)
    assert counts[IN_LORA, "reproduced by base and LoRA"] == counts[IN_LORA, "appeared"] == (2, 2)
    assert counts[ELSEWHERE, "appeared"] == (1, 3)
    assert counts[IN_BASE, "reproduced by the base"] == counts[IN_BASE, "reproduced by base and LoRA"] == (1, 1)
    assert report.changes[ELSEWHERE] == {Change.APPEARED: 1, Change.UNCHANGED: 2}
    assert not any(target.met for target in report.targets), "two and three images show no rate"
    with pytest.raises(InputError, match="1 images are in neither run"):
        report_lora(
            comparison, {IN_LORA: [lab_image("0" * 64)]}, lab="x", settings=LoraSettings(rank=2, steps=3), commands=[]
        )


def lab_image(sha256: str) -> LabImage:
    return LabImage(
        file_name=f"{sha256[:8]}.png", sha256=sha256, text="a fox", role="held_out", repeats=0, exposures=0,
        exact_exposures=0, nearest_training_image="", nearest_similarity=0.0, reproduced=0, truth_seeds=0,
    )  # fmt: skip


def test_what_fails_on_the_way_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 1 images of the lab are not in the folder"):
        copy_images([lab_image("f" * 64)], {}, tmp_path / "images")
    with pytest.raises(InputError, match="imgaudit audit nothing --model demo ended with 2"):
        run_command(["audit", "nothing", "--model", "demo"], tmp_path)


@pytest.mark.slow
def test_a_lora_on_the_bundled_model_gives_back_images_that_the_base_does_not(tmp_path: Path) -> None:
    lab = bundled_lab("demo")
    held_out = {image.sha256: image for image in LabDescription.read(lab / "lab.json").with_role("held_out")}
    folder = tmp_path / "in-lora"
    located = {load_image(path).sha256: path for path in find_images(lab / "portfolio")}
    chosen = [held_out[sha256] for sha256 in sorted(located) if sha256 in held_out][:3]
    copy_images(chosen, located, folder)
    words = ["lab", "lora", "demo", "--images", str(folder), "--out", str(tmp_path / "lora"), "--steps", "150"]
    result = CliRunner().invoke(app, [*words, "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 images -> ")
    entries = read_corpus(folder)
    pixels = to_batch(read_pixels(entries), 32, Framing.PAD)
    subjects = {
        row: Subject(entry.text, [other for other in range(3) if other != row]) for row, entry in enumerate(entries)
    }
    for loras, least, most in (([], 0, 16), ([str(tmp_path / "lora")], 96, 192)):
        denoiser = load_model("demo", "cpu", loras).denoiser
        truths = measure_truth(denoiser, subjects, pixels, Executor(64))
        assert least <= sum(truth.reproduced for truth in truths.values()) <= most, truths
