"""The methods on a model with two streams of text: inversion, errors, bits, and a chunk from end to end."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import generate
from imgaudit.diffusion.inversion import Inversion, count_embedding_bits, invert, make_initial_streams
from imgaudit.diffusion.measurement import measure_chunk
from imgaudit.diffusion.quantisation import count_stored_bits, sort_settings, truncate_embedding
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.schema.protocol import (
    ErrorConfig,
    GenerationConfig,
    InversionConfig,
    LadderConfig,
    Protocol,
    TokenSearchConfig,
)
from imgaudit.schema.records import ErrorMeasurement, Rung, RungMeasurement
from tests.support.tiny_sdxl import POSITIONS, PROMPTS, latents_for, make_sdxl

NAMES = ["aa", "bb", "cc"]


def run(denoiser: SDXLDenoiser, batch: int = 64, **options: object) -> Inversion:
    config = InversionConfig.model_validate({"steps": 3, "draws": 4} | options)
    return invert(
        denoiser, latents_for(denoiser), NAMES, config, run_seed=1, executor=Executor(batch), paired_steps=2
    )  # fmt: skip


def test_mixtures_of_words_are_the_pipelines_own_encoding(tiny: SDXLDenoiser) -> None:
    words = tiny.words
    assert {"blue", "clock"} <= set(words) and "fox" not in words
    chosen = torch.tensor([[1, 5, 2], [0, 7, 7]])
    mixed = tiny.condition_words(one_hot(chosen, len(words)).float())
    own = tiny.condition([" ".join(words[place] for place in row) for row in chosen.tolist()])
    for part in ("streams", "extras"):
        torch.testing.assert_close(dict(getattr(mixed, part)), dict(getattr(own, part)), atol=1e-5, rtol=1e-5)
    assert {name: free.tolist() for name, free in mixed.free.items()} == {
        name: free.tolist() for name, free in own.free.items()
    }
    weights = one_hot(chosen, len(words)).float().requires_grad_(True)
    for stream in tiny.condition_words(weights).streams.values():
        [gradient] = torch.autograd.grad(stream.square().sum(), weights, retain_graph=True)
        assert bool((gradient != 0).any(dim=2).all())


def test_inversion_moves_every_stream_by_its_own_scale_and_no_extra(denoiser: SDXLDenoiser) -> None:
    start, inversion = denoiser.start_condition(), run(denoiser, steps=1, learning_rate=0.1)
    embeds = inversion.prompt_embeds
    assert torch.equal(embeds.streams["text"][:, 0], start.streams["text"][0, :1].expand(3, -1))
    for name, scale in start.root_mean_square().items():
        free = start.free[name]
        moved = (embeds.streams[name] - start.streams[name])[:, free].abs()
        # Adam's first step is the learning rate, whatever the gradient.
        assert float(moved.median()) == pytest.approx(0.1 * scale, rel=1e-2)
    torch.testing.assert_close(embeds.extras["time_ids"], start.extras["time_ids"].repeat(3, 1))
    assert not any(extra.requires_grad for extra in embeds.extras.values())
    assert all(weight.grad is None for weight in denoiser.pipeline.unet.parameters())


def test_rows_of_the_inverted_text_do_not_move_as_one(tiny: SDXLDenoiser) -> None:
    class FromZeros(SDXLDenoiser):
        def start_condition(self) -> PromptEmbeds:
            return self.null_condition()

    def second_direction(denoiser: SDXLDenoiser) -> float:
        moved = run(denoiser).prompt_embeds.streams["text"] - denoiser.start_condition().streams["text"]
        sizes = torch.linalg.svdvals(moved[0, 1:].double())
        return float(sizes[1] / sizes[0])

    assert second_direction(tiny) > 0.05
    assert second_direction(FromZeros(make_sdxl(), "fingerprint")) < 1e-12


def test_an_image_does_not_depend_on_its_batch_and_the_null_error_is_the_pipelines_null(denoiser: SDXLDenoiser) -> None:
    together, again = run(denoiser), run(denoiser, batch=5)
    torch.testing.assert_close(
        dict(again.prompt_embeds.streams), dict(together.prompt_embeds.streams), atol=1e-4, rtol=1e-3
    )
    executor, latents, config = Executor(7), latents_for(denoiser), ErrorConfig(draws=16)
    null = denoiser.null_condition().repeat(3)
    errors = measure_paired_errors(denoiser, latents, NAMES, null, config, run_seed=1, executor=executor)
    torch.testing.assert_close(errors.conditional, errors.null)
    # Before the first step, the inverted condition is the start; its paired null is the null all the same.
    first = invert(
        denoiser, latents, NAMES, InversionConfig(steps=1, draws=4), run_seed=1, executor=executor, paired_steps=1
    )  # fmt: skip
    same = torch.allclose(first.paired_conditional, first.paired_null, atol=1e-5)
    assert same != denoiser.pipeline.config.force_zeros_for_empty_prompt


def test_random_starts_have_each_streams_scale(tiny: SDXLDenoiser) -> None:
    names = [f"{number:02d}" for number in range(40)]
    streams = make_initial_streams(tiny, names, InversionConfig(initialisation="random"), run_seed=1)
    scales = tiny.start_condition().with_streams(streams).root_mean_square()
    assert scales == pytest.approx(tiny.start_condition().root_mean_square(), rel=0.1)
    assert not torch.equal(streams["pooled"][0], streams["pooled"][1])


def test_bits_of_an_embedding_and_the_dial_count_both_streams(tiny: SDXLDenoiser) -> None:
    start, free = tiny.start_condition(), POSITIONS - 1
    assert count_embedding_bits(start, None) == 32 * (free * 56 + 20)
    assert count_embedding_bits(start, 2) == 32 * (2 * 56 + 20)
    whole = run(tiny).prompt_embeds.select(slice(0, 1))
    again, _ = truncate_embedding(whole, start, None, free, 24)
    torch.testing.assert_close(dict(again.streams), dict(whole.streams), atol=1e-5, rtol=1e-5)
    bits = []
    for rank, precision in sort_settings(start, None):
        turned, needed = truncate_embedding(whole, start, None, rank, precision)
        assert needed == count_stored_bits(free, 56, rank, precision) + count_stored_bits(1, 20, 1, precision)
        assert torch.equal(turned.streams["text"][0, 0], start.streams["text"][0, 0])
        assert turned.extras is whole.extras
        bits.append(needed)
    assert bits == sorted(bits)


def test_generation_batches_prompts_and_seeds_with_their_extras(tiny: SDXLDenoiser) -> None:
    conditions = PromptEmbeds.concatenate([tiny.condition([prompt]) for prompt in PROMPTS])
    options: dict[str, Any] = {"guidance_scale": 3.0, "num_inference_steps": 2}
    frames = list(generate(tiny, conditions, [[1, 2], [3]], executor=Executor(2), **options))
    assert [[frame.seed for frame in own] for own in frames] == [[1, 2], [3]]
    alone = tiny.sample(tiny.condition(PROMPTS[1:]), [3], **options)
    assert float((frames[1][0].image - alone[0]).abs().max()) < 1 / 127


@pytest.fixture
def loaded(make_folder: Callable[..., Path]) -> Sequence[Any]:
    folder = make_folder("portfolio", [1, 2])
    return [target.load() for target in read_portfolio(folder, CaptionSource(folder)).targets]


def test_a_chunk_is_measured_from_end_to_end(denoiser: SDXLDenoiser, loaded: Sequence[Any]) -> None:
    protocol = Protocol(
        inversion=InversionConfig(steps=3, draws=2),
        error=ErrorConfig(draws=8, after_steps=2),
        generation=GenerationConfig(seeds=2, num_inference_steps=2),
        ladder=LadderConfig(rungs=("caption", "tokens", "embedding")),
        tokens=TokenSearchConfig(words=3, evaluations=60, draws=2, candidates=4),
    )
    before = denoiser.network_evaluations
    measured = measure_chunk(MeasurementContext(denoiser, protocol, 0, Executor(16)), loaded)
    assert len(measured) == 2 and denoiser.network_evaluations > before
    for one in measured:
        assert isinstance(one.measurement.error, ErrorMeasurement) and len(one.measurement.loss_curve) == 3
        assert {name: tuple(stream.shape) for name, stream in one.prompt_embeds.items()} == {
            "text": (POSITIONS, 56), "pooled": (1, 20),
        }  # fmt: skip
        for rung in (Rung.CAPTION, Rung.TOKENS, Rung.EMBEDDING):
            answered = one.measurement.rungs[rung]
            assert isinstance(answered, RungMeasurement) and len(answered.replicas) == 2
        embedding = one.measurement.rungs[Rung.EMBEDDING]
        assert isinstance(embedding, RungMeasurement) and embedding.bits == 32 * ((POSITIONS - 1) * 56 + 20)
