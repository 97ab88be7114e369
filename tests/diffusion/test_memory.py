"""Precision, memory and attention of every family's network, on tiny models of the real classes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_ideogram4 import Ideogram4MRoPE
from diffusers.models.transformers.transformer_krea2 import Krea2RMSNorm, Krea2Transformer2DModel

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import invert
from imgaudit.diffusion.memory import PeakBytes, measure_peak_bytes
from imgaudit.diffusion.passes import Passes
from imgaudit.exceptions import MemoryShortageError
from imgaudit.models.families.chroma import ChromaDenoiser
from imgaudit.models.families.cogview4 import CogView4Denoiser
from imgaudit.models.families.ideogram4 import Ideogram4Denoiser
from imgaudit.models.families.krea2 import Krea2Denoiser
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.models.finite_set import FiniteSetDenoiser
from imgaudit.schema.protocol import ErrorConfig, InversionConfig
from tests.conftest import make_pipeline, tiny_recipe
from tests.support import tiny_families, tiny_transformers

# Raised inside diffusers' solvers; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

CPU = torch.device("cpu")

FAMILIES: dict[str, Callable[[], LatentDenoiser]] = {
    "stable diffusion": lambda: UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint"),
    "sdxl": lambda: SDXLDenoiser(tiny_families.make_sdxl(), "fingerprint"),
    **{name: lambda make=make: tiny_transformers.adapt(make()) for name, make in tiny_transformers.MAKERS.items()},  # type: ignore[misc]
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Callable[[], LatentDenoiser]:
    return FAMILIES[request.param]


def inputs(denoiser: LatentDenoiser, count: int = 2) -> tuple[torch.Tensor, torch.Tensor, PromptEmbeds]:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn((count, *denoiser.latent_shape), generator=generator)
    return noisy, torch.arange(count) * 400, denoiser.start_condition().repeat(count)


def convert(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give a network's weights another type, without those that diffusers keeps in float32 when it loads them."""
    tables = {module: module.inv_freq for module in network.modules() if isinstance(module, Ideogram4MRoPE)}
    network.to(dtype)
    for module, frequencies in tables.items():
        # Places begin at 65,536, which would be one and the same in half precision.
        module.inv_freq = frequencies
    if isinstance(network, Krea2Transformer2DModel):
        for module in network.modules():
            if isinstance(module, Krea2RMSNorm):
                module.float()


def gradients(denoiser: LatentDenoiser) -> dict[str, torch.Tensor]:
    noisy, timesteps, condition = inputs(denoiser)
    streams = {name: stream.clone().requires_grad_(True) for name, stream in condition.streams.items()}
    loss = denoiser.predict(noisy, timesteps, condition.with_streams(streams)).output.square().sum()
    return dict(zip(streams, torch.autograd.grad(loss, list(streams.values())), strict=True))


def test_tensors_are_counted_while_they_are_alive() -> None:
    weight = torch.eye(1000)
    with PeakBytes() as counted:
        kept = torch.zeros(1000)
        _ = kept.view(10, 100), weight.t(), kept.add_(1)
        assert counted.alive == 4000
        for _ in range(5):
            kept = weight @ kept
        assert counted.alive == 4000
        del kept
    assert counted.alive == 0 and counted.most == 8000


def test_what_backward_keeps_is_counted() -> None:
    weight, start = torch.eye(100), torch.ones(100, 100, requires_grad=True)

    def through(layers: int) -> int:
        def work() -> None:
            state = start
            for _ in range(layers):
                state = torch.tanh(state @ weight)
            torch.autograd.grad(state.sum(), start)

        return measure_peak_bytes(work, CPU)

    # Of each layer the output of tanh, which its derivative needs.
    assert through(20) - through(10) == 10 * 100 * 100 * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_of_half_precision_weights_are_float32_and_close(
    family: Callable[[], LatentDenoiser], dtype: torch.dtype
) -> None:
    whole, half = family(), family()
    for part in half.pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            convert(part, dtype)
    assert half.network.dtype == dtype
    condition = whole.start_condition()
    seen: list[torch.dtype] = []
    # Of Z-Image's network a list.
    half.network.register_forward_hook(lambda module, given, output: seen.extend(one.dtype for one in output[0]))
    latents = torch.randn((2, *whole.latent_shape), generator=torch.Generator().manual_seed(0))
    errors = []
    for denoiser in (whole, half):
        assert all(stream.dtype == torch.float32 for stream in denoiser.start_condition().streams.values())
        assert denoiser.encode(torch.zeros(1, 3, denoiser.resolution, denoiser.resolution)).dtype == torch.float32
        # Both under the same condition: text encoders in half precision would be another comparison.
        paired = measure_paired_errors(
            denoiser, latents, ["aa", "bb"], condition.repeat(2), ErrorConfig(draws=4), run_seed=1, executor=Executor(8)
        )
        assert paired.conditional.dtype == torch.float32 and paired.log_ratio().dtype == torch.float64
        errors.append(paired.conditional)
    assert seen and set(seen) == {dtype}
    assert bool(torch.isfinite(errors[1]).all())
    torch.testing.assert_close(errors[1], errors[0], rtol=0.05, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_inverted_stays_float32_whatever_the_weights_are(
    family: Callable[[], LatentDenoiser], dtype: torch.dtype
) -> None:
    denoiser = family()
    convert(denoiser.network, dtype)
    latents = torch.randn((1, *denoiser.latent_shape), generator=torch.Generator().manual_seed(0))
    inverted = invert(
        denoiser, latents, ["aa"], InversionConfig(steps=2, draws=2), run_seed=1, executor=Executor(4)
    )  # fmt: skip
    start = denoiser.start_condition()
    assert inverted.losses.dtype == torch.float32 and bool(torch.isfinite(inverted.losses).all())
    for name, stream in inverted.prompt_embeds.streams.items():
        assert stream.dtype == torch.float32 and bool(torch.isfinite(stream).all())
        # Steps this small would be lost in half precision.
        assert not torch.equal(stream, stream.to(dtype).float())
        assert not torch.equal(stream, start.streams[name])


def test_checkpointing_gives_the_same_gradients_in_less_memory(family: Callable[[], LatentDenoiser]) -> None:
    denoiser = family()
    if isinstance(denoiser, ChromaDenoiser):
        pytest.skip("diffusers drops Chroma's mask where gradients are checkpointed, so they never are")
    if not denoiser.network._supports_gradient_checkpointing:
        assert not denoiser.spare_memory()
        return
    passes = Passes(denoiser)

    def measure() -> tuple[dict[str, torch.Tensor], int, int]:
        found, before = gradients(denoiser), denoiser.network_evaluations
        return found, measure_peak_bytes(lambda: passes.backward(4), CPU), denoiser.network_evaluations - before

    plain, plain_bytes, evaluations = measure()
    assert denoiser.spare_memory() and not denoiser.spare_memory()
    sparing, sparing_bytes, again = measure()
    assert evaluations == again == 8 and sparing_bytes <= plain_bytes
    # What Krea 2 fuses text with is no block, and is most of the tiny one; two others have little besides their text.
    assert sparing_bytes < plain_bytes or isinstance(denoiser, CogView4Denoiser | Ideogram4Denoiser | Krea2Denoiser)
    for name, gradient in plain.items():
        torch.testing.assert_close(sparing[name], gradient, rtol=1e-5, atol=1e-7)


def test_memory_is_spared_before_an_audit_gives_up() -> None:
    class Full(UNetDenoiser):
        """Holds one sample at a time, and its gradients only when they are checkpointed."""

        def predict(self, noisy: Any, timesteps: Any, prompt_embeds: Any) -> Any:
            if len(noisy) > 1 or not self.network.is_gradient_checkpointing:
                raise torch.OutOfMemoryError("simulated")
            return super().predict(noisy, timesteps, prompt_embeds)

    full, roomy = Full(make_pipeline(tiny_recipe()), "fingerprint"), FAMILIES["stable diffusion"]()
    latents = torch.randn((1, *roomy.latent_shape), generator=torch.Generator().manual_seed(0))
    config = InversionConfig(steps=2, draws=2)
    with pytest.raises(MemoryShortageError, match="not even one image"):
        invert(full, latents, ["aa"], config, run_seed=1, executor=Executor(2))
    executor = Executor(2, full.spare_memory)
    spared = invert(full, latents, ["aa"], config, run_seed=1, executor=executor)
    assert executor.batch_size == 1
    expected = invert(roomy, latents, ["aa"], config, run_seed=1, executor=Executor(1))
    torch.testing.assert_close(spared.prompt_embeds.streams, expected.prompt_embeds.streams)


def test_a_model_with_nothing_to_spare_says_so() -> None:
    assert not FiniteSetDenoiser(torch.zeros(2, 3, 4, 4)).spare_memory()


def test_attention_never_builds_the_whole_matrix(
    family: Callable[[], LatentDenoiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser, calls = family(), []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *given, **named: calls.append(len(given) + len(named)) or fused(*given, **named),
    )
    Passes(denoiser).backward(1)
    processors = {type(one.processor).__name__ for one in denoiser.network.modules() if hasattr(one, "processor")}
    # Sana's own attention is linear: it has no such matrix.
    ordinary = processors - {"SanaLinearAttnProcessor2_0"}
    assert calls and ordinary
    assert not ordinary & {"AttnProcessor", "SlicedAttnProcessor", "JointAttnProcessor"}
