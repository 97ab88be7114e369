"""Devices, offloaded weights, memory layout and compiled blocks: the same numbers to rounding, and clear refusals."""

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from diffusers import HunyuanDiTPipeline
from typer.testing import CliRunner

from imgaudit.benchmark.speed.compilation import CompileReport
from imgaudit.cli import app
from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.writing import read_json
from imgaudit.models import load_model
from imgaudit.models.devices import (
    Offload,
    choose_device,
    compile_blocks,
    offload_networks,
    refuse_compile,
    use_channels_last,
)
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.z_image import ZImageDenoiser
from tests.diffusion.test_memory import FAMILIES, gradients, inputs

# Raised inside diffusers' solvers; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Callable[[], LatentDenoiser]:
    return FAMILIES[request.param]


def numbers(denoiser: Any) -> list[torch.Tensor]:
    noisy, timesteps, condition = inputs(denoiser)
    images = denoiser.decode(noisy)
    return [
        denoiser.predict(noisy, timesteps, condition).output.detach(),
        denoiser.sample(condition, [1, 2], guidance_scale=2.0, num_inference_steps=2),
        images, denoiser.encode(images), *gradients(denoiser).values(),
    ]  # fmt: skip


def test_channels_last_changes_nothing_but_rounding(family: Callable[[], LatentDenoiser]) -> None:
    plain, laid_out = family(), family()
    use_channels_last(laid_out.pipeline)
    convolutions = [one for one in laid_out.pipeline.vae.modules() if isinstance(one, torch.nn.Conv2d)]
    assert convolutions
    assert all(one.weight.is_contiguous(memory_format=torch.channels_last) for one in convolutions)
    torch.testing.assert_close(numbers(laid_out), numbers(plain), rtol=1e-4, atol=1e-5)


def test_every_family_has_blocks_to_compile(
    family: Callable[[], LatentDenoiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **named: compiled.append(module))
    denoiser = family()
    if isinstance(denoiser.pipeline, HunyuanDiTPipeline):
        with pytest.raises(ModelRefusedError, match="names no blocks that it repeats"):
            compile_blocks(denoiser.network)
        return
    assert compile_blocks(denoiser.network) == len(compiled) > 0
    # Most of what the network computes with, or compiling it would hardly be worth the wait.
    inside = sum(weight.numel() for block in compiled for weight in block.parameters())
    if hasattr(denoiser.pipeline, "transformer"):
        # The embedding of time of Z-Image's has 1,024 channels however tiny the rest is.
        least = 0.1 if isinstance(denoiser, ZImageDenoiser) else 0.3
        assert inside > least * sum(weight.numel() for weight in denoiser.network.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_compiled_model_gives_the_same_numbers_and_says_that_it_is_compiled(model_folder: Path) -> None:
    plain, compiled = load_model(str(model_folder), "cpu"), load_model(str(model_folder), "cpu", compiled=True)
    assert compiled.compiled and not plain.compiled
    assert compiled.denoiser.fingerprint == plain.denoiser.fingerprint
    torch.testing.assert_close(numbers(compiled.denoiser), numbers(plain.denoiser), rtol=1e-3, atol=1e-4)
    before = compiled.denoiser.network_evaluations
    gradients(compiled.denoiser)  # type: ignore[arg-type]
    assert compiled.denoiser.network_evaluations - before == 4


def test_where_it_cannot_work_it_is_refused() -> None:
    refuse_compile(torch.device("cpu"), "none")
    refuse_compile(torch.device("cuda"), "model")
    with pytest.raises(ModelRefusedError, match="needs a CPU or a CUDA device, but the device is 'mps'"):
        refuse_compile(torch.device("mps"), "none")
    with pytest.raises(ModelRefusedError, match="--compile and --offload sequential exclude each other"):
        refuse_compile(torch.device("cuda"), "sequential")
    with pytest.raises(ModelRefusedError, match="Linear names no blocks that it repeats"):
        compile_blocks(torch.nn.Linear(2, 2))


def test_a_compiler_that_is_not_there_is_a_refusal(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: torch.nn.Module, **named: Any) -> None:
        def forward(*given: Any, **others: Any) -> None:
            raise RuntimeError("no C++ compiler\nwas found")

        monkeypatch.setattr(module, "forward", forward)

    monkeypatch.setattr(torch.nn.Module, "compile", fail)
    with pytest.raises(ModelRefusedError, match=r"--compile failed; leave it out, .*: no C.. compiler was found"):
        load_model(str(model_folder), "cpu", compiled=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_the_benchmark_times_both_in_turns(model_folder: Path, tmp_path: Path) -> None:
    saved, command = tmp_path / "compile.json", ["benchmark", "compile", "--batch-size", "2", "--quiet"]
    result = CliRunner().invoke(app, [*command, "--model", str(model_folder), "--save", str(saved)])
    assert result.exit_code == 0
    report = CompileReport.model_validate(read_json(saved))
    assert [one.name for one in report.passes][:2] == ["forward and backward", "forward"]
    # The wait is a difference of two times, which a busy machine can turn round.
    assert all(0 < one.low <= one.gain <= one.high for one in report.passes) and isfinite(report.wait_seconds)
    again = CliRunner().invoke(app, ["benchmark", "compile", "--table", str(saved)])
    assert again.exit_code == 0 and again.stdout == result.stdout


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "no CUDA device"),
        ("cuda:7", "no CUDA device"),
        ("abacus", "no ABACUS device"),
        ("cpu:1", "counted from 0"),
        ("cpu:", "counted from 0"),
    ],
)
def test_a_missing_device_is_refused(device: str, message: str) -> None:
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ModelRefusedError, match=message):
        choose_device(device)


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
