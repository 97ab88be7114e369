"""InvMM as a method: against plain loops, closed forms, finite differences, and models that memorise everything."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.diffusion.context import EncodedImages
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import DrawSource
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.invmm.checks import CheckRequest, check_noise, count_timesteps_with_signal
from imgaudit.diffusion.invmm.condition import FreeEmbedding, WordMixture, make_soft_condition
from imgaudit.diffusion.invmm.search import NoiseInversion, Penalty, _Search, invert_noise
from imgaudit.diffusion.learned_noise import LearnedNoise, kl_per_dimension
from imgaudit.diffusion.schedules import NoiseSchedule
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.models import FiniteSetDenoiser
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.schema.protocol import InvMMConfig
from imgaudit.similarity.matcher import Matcher
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.tiny_transformers import adapt, make_sana, make_sd3

SHA256S = ["ab", "cd"]


def found(denoiser: Any, targets: torch.Tensor, config: InvMMConfig, **options: Any) -> list[NoiseInversion]:
    """InvMM on pictures that are their own latents, or that a model encodes."""
    latents = denoiser.encode(targets).to(options.pop("dtype", torch.float32))
    options = {"run_seed": 3, "executor": Executor(options.pop("batch_size", 64))} | options
    sha256s = options.pop("sha256s", [f"{number:02x}" for number in range(len(targets))])
    return invert_noise(denoiser, EncodedImages(sha256s, latents, denoiser.decode(latents)), config, **options)


def doubled(denoiser: Any) -> Any:
    """A pipeline's denoiser with all networks in float64."""
    for part in denoiser.pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.double()
    return denoiser


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=8))
def test_the_divergence_is_the_closed_form_of_two_normals(pairs: list[tuple[float, float]]) -> None:
    mu, logvar = torch.tensor(pairs, dtype=torch.float64).T.reshape(2, 1, 1, -1)
    learned = torch.distributions.Normal(mu, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(learned, torch.distributions.Normal(0.0, 1.0)).mean()
    value = float(kl_per_dimension(mu, logvar))
    assert value == pytest.approx(float(expected), abs=1e-12) and value >= 0


def test_plain_noise_has_no_divergence_and_is_what_seeds_give() -> None:
    usual = LearnedNoise(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4))
    assert float(usual.divergence()) == 0.0
    moved = LearnedNoise(torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), math.log(4.0)))
    torch.testing.assert_close(moved.latents([7, 8]), 0.5 + 2 * usual.latents([7, 8]))


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 12))
@settings(max_examples=40)
def test_the_weight_follows_the_published_rule(losses: list[float], every: int, window: int) -> None:
    penalty = Penalty(increment=0.25, least_progress=0.1, window=window)
    weight, last = 1.0, math.inf
    for step, loss in enumerate(losses, 1):
        penalty.step(loss)
        weight += 0.25
        if step % every == 0:
            recent = losses[max(0, step - window) : step]
            average = sum(recent) / len(recent)
            weight = weight / 2 if last - average < 0.1 else weight + 0.25
            last = average
            penalty.adapt()
        assert penalty.weight == pytest.approx(weight)


def plain_loop(
    denoiser: FiniteSetDenoiser, x0: torch.Tensor, sha256: str, config: InvMMConfig, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The published search for one image without checks, written out draw by draw."""
    mu, logvar = torch.zeros_like(x0, requires_grad=True), torch.zeros_like(x0, requires_grad=True)
    logits = torch.zeros(denoiser.word_positions, len(denoiser.words), requires_grad=True)
    optimiser = torch.optim.Adam([mu, logvar, logits], lr=config.learning_rate)
    source = DrawSource(seed, [sha256], "invmm", denoiser.latent_shape)
    mixing = torch.Generator().manual_seed(draw_seed(seed, sha256, "invmm condition"))
    weight, losses, last = 1.0, list[float](), math.inf
    for step in range(1, config.steps + 1):
        draws = source.draw("uniform", config.draws, denoiser.schedule.num_train_timesteps)
        exponential = torch.empty(config.draws, *logits.shape).exponential_(generator=mixing)
        total = torch.zeros(())
        for b in range(config.draws):
            noise = mu + torch.exp(0.5 * logvar) * draws.noise[0, b]
            time = draws.timesteps[0, b : b + 1]
            abar = float(denoiser.schedule.alphas_cumprod[int(time)])
            noisy = math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise
            mixture = torch.softmax((logits - exponential[b].log()) / config.temperature, dim=-1)
            predicted = denoiser.predict(noisy[None], time, denoiser.condition_words(mixture[None])).output[0]
            x0_hat = (noisy - math.sqrt(1 - abar) * predicted) / math.sqrt(abar)
            total = total + (x0_hat - x0).square().mean() / config.draws
        divergence = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum() / mu.numel()
        optimiser.zero_grad()
        (total + weight * divergence).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(total.detach()))
        weight += config.increment
        if step % config.check_every == 0 and step < config.steps:
            recent = losses[-config.progress_window :]
            average = sum(recent) / len(recent)
            weight = weight / 2 if last - average < config.least_progress else weight + config.increment
            last = average
    return mu.detach(), logvar.detach(), logits.detach()


@pytest.fixture
def in_double() -> Iterator[None]:
    """Everything in float64: the first steps of Adam have the sign of gradients that rounding decides where it is 0."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_double")
def test_images_searched_together_equal_a_plain_loop_over_each(finite_set: FiniteSetDenoiser) -> None:
    config = InvMMConfig(steps=12, draws=3, check_every=4, progress_window=6, similarity=1.1, num_inference_steps=2)
    finite_set.points = finite_set.points.double()
    targets = finite_set.points[[1, 3]] * 0.8
    together = found(finite_set, targets, config, sha256s=SHA256S, batch_size=5, dtype=torch.float64)
    for one, x0, sha256 in zip(together, targets, SHA256S, strict=True):
        mu, logvar, _ = plain_loop(finite_set, x0, sha256, config, 3)
        torch.testing.assert_close(one.noise.mu, mu, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.noise.logvar, logvar, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("words", [True, False])
def test_batched_equals_unbatched_on_a_real_network(words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = doubled(UNetDenoiser(make_pipeline(tiny_recipe()), "f"))
    if not words:
        monkeypatch.setattr(UNetDenoiser, "words", ())
    config = InvMMConfig(steps=2, draws=3, check_every=1, num_inference_steps=2, noises=2, similarity=1.1)
    targets = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    together = found(denoiser, targets, config, sha256s=SHA256S, dtype=torch.float64)
    for number, one in enumerate(together):
        [alone] = found(
            denoiser, targets[number : number + 1], config, sha256s=[SHA256S[number]], batch_size=2, dtype=torch.float64
        )
        torch.testing.assert_close(one.noise.mu, alone.noise.mu, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.noise.logvar, alone.noise.logvar, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            one.prompt_embeds.streams["text"], alone.prompt_embeds.streams["text"], atol=1e-4, rtol=1e-4
        )
        assert one.condition == alone.condition == ("mixture" if words else "embedding")
        assert one.network_evaluations == alone.network_evaluations


@pytest.mark.parametrize("kind", ["mixture", "embedding", "flow"])
def test_gradients_match_central_differences(kind: str) -> None:
    """Directional, in mu, logvar and the condition, in float64, through the text encoder and the network."""
    torch.manual_seed(0)
    pipeline = make_sd3() if kind == "flow" else make_pipeline(tiny_recipe())
    denoiser = doubled(adapt(pipeline) if kind == "flow" else UNetDenoiser(pipeline, "f"))
    random = torch.Generator().manual_seed(4)
    latents = torch.randn((1, *denoiser.latent_shape), generator=random, dtype=torch.float64)
    start = denoiser.start_condition()
    soft = WordMixture(denoiser, 1, 2.0) if kind == "mixture" else FreeEmbedding(denoiser, start, None)
    config = InvMMConfig(draws=2, increment=0.0)

    def search() -> _Search:
        made = _Search(denoiser, EncodedImages(["ab"], latents, latents), soft, config, 3, Executor(8))
        made.optimiser.step = lambda: None  # type: ignore[assignment, misc]
        return made

    base = [0.3 * torch.randn(leaf.shape, generator=random, dtype=torch.float64) for leaf in search().leaves[0]]
    directions = [torch.randn(leaf.shape, generator=random, dtype=torch.float64) for leaf in base]
    kept = [leaf.detach().clone() for leaf in search().leaves[0]]

    def objective(offsets: Sequence[torch.Tensor]) -> tuple[float, list[torch.Tensor]]:
        one = search()
        with torch.no_grad():
            for leaf, value, offset, first in zip(one.leaves[0], base, offsets, kept, strict=True):
                leaf.copy_(first + value + offset)
        one.step([0])
        loss = one.penalties[0]._losses[-1] + float(kl_per_dimension(one.mu[0], one.logvar[0]).detach())
        return loss, [leaf.grad.double().clone() for leaf in one.leaves[0] if leaf.grad is not None]

    zero = [torch.zeros_like(one) for one in base]
    _, gradients = objective(zero)
    assert len(gradients) == len(base)
    for number, direction in enumerate(directions):
        step = 1e-3 if number > 1 else 1e-4
        moved = [direction * step if place == number else one for place, one in enumerate(zero)]
        numeric = (objective(moved)[0] - objective([-one for one in moved])[0]) / (2 * step)
        analytic = float((gradients[number] * direction).sum())
        assert analytic != 0 and analytic == pytest.approx(numeric, rel=1e-2), number


def test_a_memorised_image_succeeds_and_another_is_skipped_with_the_reason(finite_set: FiniteSetDenoiser) -> None:
    stranger = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(9)) * 2 - 1, (16, 16), mode="bilinear"
    )
    config = InvMMConfig(steps=30, draws=4, check_every=10)
    memorised, other = found(finite_set, torch.cat([finite_set.points[2:3], stranger]), config)
    assert memorised.succeeded and memorised.steps < 30 and memorised.kl_per_dimension < 0.1
    assert not other.succeeded and other.steps == 30
    assert "no check succeeded in 30 steps" in other.failure(config)
    ungated = config.model_copy(update={"gate_margin": None})
    [other] = found(finite_set, stranger, ungated)
    assert "the least similar came to" in other.failure(ungated) and "0.9 is needed" in other.failure(ungated)


def checks_of(denoiser: FiniteSetDenoiser, names: Sequence[str], noises: int) -> list[CheckRequest]:
    latents = torch.randn((noises, *denoiser.latent_shape), generator=torch.Generator().manual_seed(2))
    return [CheckRequest(denoiser.points[0], denoiser.condition([name]), latents) for name in names]


def test_one_noise_that_does_not_return_the_image_is_a_failure(finite_set: FiniteSetDenoiser) -> None:
    """The minimum counts: without a condition some noises lead to the image and others elsewhere."""
    config = InvMMConfig(noises=24, guidance_scales=(1.0,), gate_margin=None, num_inference_steps=10)
    [unasked, asked] = checks_of(finite_set, ["", "0"], 24)
    frames = finite_set.sample(
        unasked.prompt_embeds.repeat(24), [0] * 24, guidance_scale=1.0, num_inference_steps=10, latents=unasked.latents
    )
    similarities = Matcher().similarities(unasked.rendered, frames)
    assert min(similarities) < 0.9 < max(similarities)
    # With the lucky noise first, all the others have to be sampled before the check fails.
    order = torch.tensor(similarities).argsort(descending=True)
    unlucky = CheckRequest(unasked.rendered, unasked.prompt_embeds, unasked.latents[order])
    outcomes = check_noise(finite_set, [unlucky, asked], config, executor=Executor(64), matcher=Matcher())
    assert [one.succeeded for one in outcomes] == [False, True]
    assert outcomes[0].similarity == pytest.approx(min(similarities), abs=1e-5)
    assert outcomes[0].network_evaluations == outcomes[1].network_evaluations == 24 * 10


def test_looks_save_evaluations_and_change_no_outcome(finite_set: FiniteSetDenoiser) -> None:
    names = ["0", "1", "2", "", "0 1"]
    gated = InvMMConfig(num_inference_steps=5)
    open_gate = gated.model_copy(update={"gate_margin": None})
    full = [
        min(
            Matcher().similarities(
                one.rendered,
                finite_set.sample(one.prompt_embeds.repeat(8), [0] * 8, guidance_scale=3.0, num_inference_steps=5,
                                  latents=one.latents),
            )
        ) >= 0.9
        for one in checks_of(finite_set, names, 8)
    ]  # fmt: skip
    outcomes = {}
    for config in (gated, open_gate):
        outcomes[config.gate_margin] = check_noise(
            finite_set, checks_of(finite_set, names, 8), config, executor=Executor(16), matcher=Matcher()
        )
    with_gate, without = outcomes[gated.gate_margin], outcomes[None]
    assert [one.succeeded for one in with_gate] == [one.succeeded for one in without] == full
    assert full[0] and not all(full)
    spent, spent_without = (sum(one.network_evaluations for one in own) for own in (with_gate, without))
    assert spent < spent_without < len(names) * 8 * 5 * 2


def test_timesteps_without_signal_are_not_drawn(finite_set: FiniteSetDenoiser) -> None:
    """A zero-terminal-SNR schedule under noise prediction: clean latents cannot be computed at the last timestep."""
    finite_set.schedule = NoiseSchedule(torch.tensor([0.9, 0.5, 0.1, 0.0], dtype=torch.float64))
    assert count_timesteps_with_signal(finite_set) == 3
    [one] = found(finite_set, finite_set.points[:1], InvMMConfig(steps=4, draws=8, check_every=2, similarity=1.1,
                                                                  gate_margin=0.0, num_inference_steps=1,
                                                                  guidance_scales=(1.0,)))  # fmt: skip
    assert bool(torch.isfinite(one.noise.mu).all()) and one.best_check.gate is not None


def test_a_flow_model_without_words_optimises_its_embeddings() -> None:
    denoiser = adapt(make_sana())
    assert count_timesteps_with_signal(denoiser) == denoiser.schedule.num_train_timesteps
    picture = torch.rand(1, 3, denoiser.resolution, denoiser.resolution, generator=torch.Generator().manual_seed(1))
    config = InvMMConfig(steps=2, draws=2, check_every=1, noises=2, num_inference_steps=2, similarity=1.1)
    [one] = found(denoiser, picture * 2 - 1, config)
    start = denoiser.start_condition()
    assert one.condition == "embedding" and bool(torch.isfinite(one.noise.mu).all())
    for name, stream in one.prompt_embeds.streams.items():
        changed = (stream[0] != start.streams[name][0]).any(dim=1)
        assert not bool((changed & ~start.free[name]).any()) and bool(changed.any())


def test_a_flow_model_of_clip_and_t5_mixes_words_unless_streams_are_named() -> None:
    denoiser = adapt(make_sd3())
    picture = torch.rand(1, 3, denoiser.resolution, denoiser.resolution, generator=torch.Generator().manual_seed(1))
    config = InvMMConfig(steps=2, draws=2, check_every=1, noises=2, num_inference_steps=2, similarity=1.1)
    [mixed] = found(denoiser, picture * 2 - 1, config)
    assert mixed.condition == "mixture" and bool(torch.isfinite(mixed.noise.mu).all())
    # Every row is a mixture: none is that of the empty prompt, but BOS, which nothing changes.
    null = denoiser.null_condition()
    for name, stream in mixed.prompt_embeds.streams.items():
        changed = (stream[0] - null.streams[name][0]).abs().amax(dim=1) > 1e-4
        assert changed.tolist() == null.free[name].tolist()
    [named] = found(denoiser, picture * 2 - 1, config, streams=["clip"])
    start = denoiser.start_condition()
    assert named.condition == "embedding"
    assert torch.equal(named.prompt_embeds.streams["t5"], start.streams["t5"])
    assert not torch.equal(named.prompt_embeds.streams["clip"], start.streams["clip"])


def test_a_mixture_is_differentiable_noise_of_its_own_generator(finite_set: FiniteSetDenoiser) -> None:
    condition = make_soft_condition(finite_set, finite_set.start_condition().repeat(2), temperature=2.0)
    assert isinstance(condition, WordMixture)
    noise = condition.draw(3, torch.Generator().manual_seed(1))
    assert noise.shape == (3, 1, 5) and bool(torch.isfinite(noise).all())
    embeds: PromptEmbeds = condition.at([0, 1, 0], noise)
    embeds.streams["text"].square().sum().backward()  # type: ignore[no-untyped-call]
    for image in (0, 1):
        gradient = condition.parameters(image)["logits"].grad
        assert gradient is not None and float(gradient.abs().sum()) > 0
