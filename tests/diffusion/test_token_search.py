"""Token search: on a model whose answer is known, on the real classes, and through the whole ladder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import one_hot

from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder
from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.measurement import measure_chunk
from imgaudit.diffusion.token_search import search_tokens
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import FiniteSetDenoiser, load_model
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.runs.work import expected_work
from imgaudit.schema.findings import Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import GenerationConfig, InversionConfig, LadderConfig, Protocol, TokenSearchConfig
from imgaudit.schema.records import Rung, RungMeasurement, Skipped
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.records import PROTOCOL, bank, measurement, rung

CONFIG = TokenSearchConfig(words=2, evaluations=600, draws=4, candidates=8, shortlist=4)
COPY, MISS = (0.99, 0.05), (0.4, 0.4)


@pytest.fixture
def points() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)


def test_the_search_names_the_point_that_it_was_given_and_keeps_to_its_budget(points: torch.Tensor) -> None:
    model = FiniteSetDenoiser(points, sharpness=6.0)
    names = [f"{number:064x}" for number in range(len(points))]
    found = search_tokens(model, points, names, CONFIG, run_seed=0, executor=Executor(7))
    for number, prompt in enumerate(found):
        assert set(prompt.text.split()) == {str(number)}
        assert prompt.bits == pytest.approx(2 * 2.584962500721156)
    assert model.network_evaluations == len(points) * CONFIG.iterations * CONFIG.per_iteration
    assert CONFIG.iterations * CONFIG.per_iteration <= CONFIG.evaluations


def test_a_search_depends_on_seed_and_image_alone(points: torch.Tensor) -> None:
    config = CONFIG.model_copy(update={"evaluations": 80, "words": 8})
    names = [f"{number:064x}" for number in range(len(points))]

    def search(rows: slice, seed: int, batch: int) -> list[str]:
        model = FiniteSetDenoiser(points, sharpness=0.5)
        found = search_tokens(model, points[rows], names[rows], config, run_seed=seed, executor=Executor(batch))
        return [prompt.text for prompt in found]

    whole = search(slice(0, 6), 0, 64)
    assert search(slice(0, 3), 0, 5) + search(slice(3, 6), 0, 3) == whole
    assert search(slice(0, 6), 1, 64) != whole


def test_a_model_without_words_is_refused_and_so_is_a_budget_below_one_iteration(points: torch.Tensor) -> None:
    class Mute(FiniteSetDenoiser):
        words = ()

    with pytest.raises(ValueError, match="no words to search over"):
        search_tokens(Mute(points), points[:1], ["0" * 64], CONFIG, run_seed=0, executor=Executor(8))
    with pytest.raises(ValidationError, match="one iteration takes 136 network evaluations, but only 100 are allowed"):
        TokenSearchConfig(evaluations=100)


def test_words_are_read_as_themselves_and_their_mixture_is_the_pipelines_own_encoding() -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "f")
    words = denoiser.words
    assert {"fox", "blue", "clock"} <= set(words)
    tokenizer = denoiser.pipeline.tokenizer
    assert all(len(tokenizer(word).input_ids) == 3 for word in words)
    chosen = torch.tensor([[1, 5, 2], [0, 7, 7]])
    mixed = denoiser.condition_words(one_hot(chosen, len(words)).float())
    texts = [" ".join(words[place] for place in row) for row in chosen.tolist()]
    torch.testing.assert_close(mixed.streams["text"], denoiser.condition(texts).streams["text"], atol=1e-5, rtol=1e-5)
    assert mixed.free["text"].tolist() == denoiser.null_condition().free["text"].tolist()


def test_gradients_in_words_match_finite_differences() -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "f")
    denoiser.pipeline.text_encoder.double()
    directions = torch.randn(
        denoiser.null_condition().streams["text"].shape, generator=torch.Generator().manual_seed(0)
    )
    weights = one_hot(torch.tensor([[1, 5]]), len(denoiser.words)).double().requires_grad_(True)

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return (denoiser.condition_words(weights).streams["text"].double() * directions).sum()

    loss(weights).backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None
    step = torch.zeros_like(weights)
    step[0, 1, 3] = 1e-2
    numeric = (loss(weights.detach() + step) - loss(weights.detach() - step)) / 2e-2
    assert float(weights.grad[0, 1, 3]) == pytest.approx(float(numeric), rel=1e-2)


def test_the_rung_is_measured_as_text_with_its_bits(make_folder: Callable[..., Path], model_folder: Path) -> None:
    denoiser = load_model(str(model_folder), "cpu").denoiser
    folder = make_folder("portfolio", [1])
    [target] = read_portfolio(folder, CaptionSource(folder)).targets
    protocol = Protocol(
        inversion=InversionConfig(steps=8, draws=2),
        generation=GenerationConfig(seeds=3, num_inference_steps=2),
        ladder=LadderConfig(rungs=("tokens", "embedding")),
        tokens=TokenSearchConfig(words=3, evaluations=60, draws=2, candidates=4),
    )
    before = denoiser.network_evaluations
    [measured] = measure_chunk(MeasurementContext(denoiser, protocol, 0, Executor(16)), [target.load()])
    assert denoiser.network_evaluations - before == expected_work(protocol, 2).evaluations
    tokens, embedding = (measured.measurement.rungs[one] for one in (Rung.TOKENS, Rung.EMBEDDING))
    assert isinstance(tokens, RungMeasurement) and isinstance(embedding, RungMeasurement)
    [text] = tokens.texts
    assert len(text.split()) == 3 and set(text.split()) <= set(denoiser.words)
    assert not isinstance(tokens.bits, Skipped) and not isinstance(embedding.bits, Skipped)
    assert tokens.bits < 40 < embedding.bits
    assert {replica.path.rsplit("/", 1)[1] for replica in tokens.replicas} == {
        f"tokens-g3-{number:04d}.png" for number in range(3)
    }


def test_a_searched_prompt_is_tested_after_the_embedding_and_is_the_lower_rung() -> None:
    def target(name: str, embedding: list[tuple[float, float]], tokens: list[tuple[float, float]]):  # type: ignore[no-untyped-def]
        one = measurement(name, 3.0, embedding)
        return one.model_copy(update={"rungs": one.rungs | {Rung.TOKENS: rung(tokens, "ox blue")}})

    targets = [
        target("both", [COPY] * 8, [COPY] * 8),
        target("embedding", [COPY] * 8, [MISS] * 8),
        target("tokens", [MISS] * 8, [COPY] * 8),
    ]
    both, embedding, tokens = conclude_folder(FolderDecision(targets, Evidence(bank(199), PROTOCOL, Policy())))
    assert (both.verdict, both.rung) == (Verdict.REPLICATED_BY_INVERSION, Rung.TOKENS)
    assert "for a short prompt that was searched for" in both.reason
    assert embedding.rung is Rung.EMBEDDING
    # A prompt alone cannot stand: the sequence ends with the embedding that the controls are compared by.
    assert tokens.verdict is Verdict.ATYPICAL
    judged = {r.rung: r.null_rung for r in both.replication}
    assert judged[Rung.TOKENS] is Rung.EMBEDDING
