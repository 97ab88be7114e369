"""Weights that wait elsewhere: the same images and gradients, and a refusal where there is nothing to move them to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.offload import Offload, offload_networks


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_without_a_gpu_it_is_refused(offload: Offload, model_folder: Path) -> None:
    with pytest.raises(ModelRefusedError, match=f"--offload {offload} moves weights between main memory and a CUDA"):
        load_model(str(model_folder), "cpu", offload=offload)


@pytest.fixture
def without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers numbers the device, and "cpu:0" is not "cpu" to torch; what it does with every network is done here."""

    def enable(pipeline: Any, device: torch.device) -> None:
        for network in pipeline.components.values():
            if isinstance(network, torch.nn.Module):
                cpu_offload(network, device, offload_buffers=len(network._parameters) > 0)

    monkeypatch.setattr("diffusers.DiffusionPipeline.enable_sequential_cpu_offload", enable)


@pytest.mark.usefixtures("without_numbers")
@pytest.mark.parametrize("family", ["StableDiffusionPipeline", "StableDiffusion3Pipeline", "FluxPipeline"])
@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_the_hooks_change_no_number(
    family: str, offload: Offload, model_folder: Path, family_folders: dict[str, Path]
) -> None:
    """Moved from the CPU to the CPU: what is used comes, and everything else waits, as it would beside a GPU."""
    folder = str(family_folders.get(family, model_folder))
    plain, moved = load_model(folder, "cpu").denoiser, load_model(folder, "cpu").denoiser
    offload_networks(moved, offload, torch.device("cpu"))
    results = []
    for denoiser in (plain, moved):
        condition = denoiser.condition(["a red fox"])
        images = denoiser.sample(condition, [3], guidance_scale=2.0, num_inference_steps=2)
        latents = denoiser.encode(images)
        again = denoiser.condition(["a red fox"])
        streams = {name: stream.detach().requires_grad_(True) for name, stream in again.streams.items()}
        for name, stream in streams.items():
            again.streams[name] = stream  # type: ignore[index]
        output = denoiser.predict(latents, torch.tensor([500]), again).output
        gradients = torch.autograd.grad(output.square().sum(), list(streams.values()))
        assert all(bool(gradient.any()) for gradient in gradients)
        results.append([images, latents, denoiser.decode(latents), output, *gradients])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_where_layers_wait_their_weights_are_nowhere_else(model_folder: Path) -> None:
    denoiser: Any = load_model(str(model_folder), "cpu").denoiser
    offload_networks(denoiser, "sequential", torch.device("cpu"))
    assert {weight.device.type for weight in denoiser.pipeline.unet.parameters()} == {"meta"}


def test_networks_leave_before_text_is_read(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser: Any = load_model(str(model_folder), "cpu").denoiser
    offload_networks(denoiser, "model", torch.device("cpu"))
    calls = []
    monkeypatch.setattr(denoiser.pipeline, "maybe_free_model_hooks", lambda: calls.append("freed"))
    denoiser.condition(["a red fox"])
    assert calls == ["freed"]
