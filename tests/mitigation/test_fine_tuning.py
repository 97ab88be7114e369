"""Adversarial fine-tuning: the loss of a plain loop, what is forgotten and what is kept, and back as a model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import ConfigError, InputError
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.mitigation.fine_tuning import TuningSettings, _Tuning, fine_tune
from imgaudit.models import load_model
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import CAPTIONS, make_pipeline, tiny_recipe

SETTINGS = TuningSettings(rounds=2, steps=3, inversion_steps=2, batch_size=4, learning_rate=1e-3, seed=3)


def _captioned(first: int, count: int) -> list[CaptionedImage]:
    generator = torch.Generator().manual_seed(first)
    images = torch.rand(count, 3, 16, 16, generator=generator) * 2 - 1
    return [CaptionedImage(f"{first + row:064x}", CAPTIONS[first + row], image) for row, image in enumerate(images)]


@pytest.fixture
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def _state(model: UNetDenoiser) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.network.state_dict().items()}


def test_the_losses_are_those_of_a_plain_loop(tiny: UNetDenoiser) -> None:
    forget, retain = _captioned(0, 2), _captioned(2, 3)
    tuning = _Tuning(tiny, forget, retain, SETTINGS)
    before = _state(tiny)
    adversarial = tuning.search(0, Executor(4))
    assert all(torch.equal(weight, before[name]) for name, weight in tiny.network.state_dict().items())
    with torch.no_grad():
        for weight in tiny.network.parameters():
            weight.mul_(1.1)
        changed = _state(tiny)

    def under(state: dict[str, torch.Tensor], noisy: torch.Tensor, time: torch.Tensor, one: PromptEmbeds) -> Any:
        tiny.network.load_state_dict(state)
        with torch.no_grad():
            return tiny.predict(noisy[None], time[None], one).output[0]

    def square(first: torch.Tensor, second: torch.Tensor) -> float:
        return float((first - second).double().square().mean())

    null = tiny.null_condition()
    found = float(tuning._forgetting(adversarial, torch.Generator().manual_seed(5)).detach())
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(0, 2, (4,), generator=generator).tolist()
    searched = (torch.rand(4, generator=generator) < 0.5).tolist()
    latents = tiny.encode(torch.stack([forget[row].image for row in rows]))
    times = torch.randint(0, 1000, (4,), generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    noisy = tiny.schedule.add_noise(latents, noise, times)
    errors = []
    for place, row in enumerate(rows):
        own = adversarial.select(slice(row, row + 1)) if searched[place] else tiny.condition([forget[row].prompt])
        is_now = under(changed, noisy[place], times[place], own)
        errors.append(square(is_now, under(before, noisy[place], times[place], null)))
    assert found == pytest.approx(sum(errors) / 4, rel=1e-4)

    tiny.network.load_state_dict(changed)
    found = float(tuning._retaining(torch.Generator().manual_seed(6)).detach())
    generator = torch.Generator().manual_seed(6)
    rows = torch.randint(0, 3, (4,), generator=generator).tolist()
    latents = tiny.encode(torch.stack([retain[row].image for row in rows]))
    times = torch.randint(0, 1000, (4,), generator=generator)
    noisy = tiny.schedule.add_noise(latents, torch.randn(latents.shape, generator=generator), times)
    errors = []
    for place, row in enumerate(rows):
        for own in (tiny.condition([retain[row].prompt]), null):
            was = under(before, noisy[place], times[place], own)
            errors.append(square(under(changed, noisy[place], times[place], own), was))
    assert found == pytest.approx(sum(errors) / 8, rel=1e-4)


def test_a_saved_model_loads_and_is_the_one_in_memory_and_runs_repeat(tiny: UNetDenoiser, tmp_path: Path) -> None:
    before, losses = _state(tiny), []
    fine_tune(
        tiny, _captioned(0, 2), _captioned(2, 2), SETTINGS, tmp_path / "first", executor=Executor(8),
        on_progress=lambda step, steps, loss: losses.append((step, steps, loss)),
    )  # fmt: skip
    assert [step for step, _, _ in losses] == list(range(1, 7)) and {steps for _, steps, _ in losses} == {6}
    assert not any(weight.requires_grad for weight in tiny.network.parameters()) and not tiny.network.training
    assert any(not torch.equal(weight, before[name]) for name, weight in tiny.network.state_dict().items())
    loaded = load_model(str(tmp_path / "first"), "cpu")
    for name, weight in loaded.denoiser.network.state_dict().items():  # type: ignore[attr-defined]
        torch.testing.assert_close(weight, tiny.network.state_dict()[name])
    assert "2 images" in (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    again = UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")
    fine_tune(again, _captioned(0, 2), _captioned(2, 2), SETTINGS, tmp_path / "second", executor=Executor(8))
    assert load_model(str(tmp_path / "second"), "cpu").denoiser.fingerprint == loaded.denoiser.fingerprint


def test_half_precision_is_trained_in_float32_and_saved_as_it_was(tmp_path: Path) -> None:
    pipeline = make_pipeline(tiny_recipe())
    pipeline.unet.to(torch.bfloat16)
    tiny = UNetDenoiser(pipeline, "tiny")
    inner: list[torch.dtype] = []
    fine_tune(
        tiny, _captioned(0, 1), _captioned(2, 1), SETTINGS, tmp_path / "out", executor=Executor(8),
        on_progress=lambda step, steps, loss: inner.append(tiny.network.dtype),
    )  # fmt: skip
    assert set(inner) == {torch.float32} and tiny.network.dtype == torch.bfloat16
    saved = load_file(tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}


def test_a_training_that_diverges_says_so(tiny: UNetDenoiser, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1e12, "rounds": 1, "steps": 20})
    with pytest.raises(ConfigError, match="lower the learning rate"):
        fine_tune(tiny, _captioned(0, 1), _captioned(2, 1), settings, tmp_path / "out", executor=Executor(8))
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_trained_is_refused_and_nothing_is_written(tiny: UNetDenoiser, tmp_path: Path) -> None:
    both = _captioned(0, 1), _captioned(1, 1)
    for forget, retain in (([], both[1]), (both[0], [])):
        with pytest.raises(InputError, match="to forget and to retain"):
            fine_tune(tiny, forget, retain, SETTINGS, tmp_path / "out", executor=Executor(4))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    before = _state(tiny)
    with pytest.raises(InputError, match="not empty"):
        fine_tune(tiny, *both, SETTINGS, tmp_path / "full", executor=Executor(4))
    assert all(torch.equal(weight, before[name]) for name, weight in tiny.network.state_dict().items())
    tiny.pipeline.scheduler = type("LCMScheduler", (type(tiny.pipeline.scheduler),), {})()
    with pytest.raises(ConfigError, match="null prediction"):
        fine_tune(tiny, *both, SETTINGS, tmp_path / "out", executor=Executor(4))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", ["unet", "sd3"])
def test_from_the_command_line(
    family: str, model_folder: Path, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    model = model_folder
    if family == "sd3":
        model = next(path for name, path in family_folders.items() if "3" in name)
    for name, first in (("forget", 0), ("retain", 2)):
        (tmp_path / name).mkdir()
        for row, one in enumerate(_captioned(first, 2)):
            pixels = ((one.image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
            Image.fromarray(pixels).save(tmp_path / name / f"{row}.png")
            (tmp_path / name / f"{row}.txt").write_text(one.prompt, encoding="utf-8")
    out = tmp_path / "tuned"
    options = ["--rounds", "1", "--steps", "2", "--learning-rate", "0.001", "--json", "--quiet"]
    command = ["mitigate", "fine-tune", str(tmp_path / "forget"), "--model", str(model), "--out", str(out)]
    command += ["--retain", str(tmp_path / "retain"), *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert (row["forgotten"], row["retained"], row["rounds"], row["steps"]) == (2, 2, 1, 2)
    assert load_model(str(out), "cpu").denoiser.fingerprint != load_model(str(model), "cpu").denoiser.fingerprint
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, InputError) and "not empty" in str(again.exception)
