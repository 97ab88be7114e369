"""The norm clamp: what it does to rows, to a model's predictions and samples, and to gradients."""

import pytest
import torch

from imgaudit.benchmark.evasion.norm_clamp import NormClamp, clamp_norms, find_largest_norms
from imgaudit.models import FiniteSetDenoiser


@pytest.fixture
def model() -> FiniteSetDenoiser:
    return FiniteSetDenoiser(torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)]))


def test_rows_keep_their_direction_and_lose_what_is_above_the_limit() -> None:
    rows = torch.tensor([[[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]])
    clamped = clamp_norms(rows, 2.0)
    assert torch.allclose(clamped, torch.tensor([[[1.2, 1.6], [0.3, 0.4], [0.0, 0.0]]]))
    assert torch.equal(clamp_norms(rows, 6.0), rows)


def test_gradients_pass_and_are_finite_at_zero() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    clamp_norms(rows, 1.0)[:, 0].sum().backward()
    # d/dx of x / |x| at (3, 4) is (1 - 9 / 25) / 5.
    assert rows.grad is not None and torch.allclose(rows.grad[0], torch.tensor([0.128, -0.096]))
    assert torch.equal(rows.grad[1], torch.tensor([1.0, 0.0]))


def test_the_limit_is_the_largest_row_of_the_texts(model: FiniteSetDenoiser) -> None:
    assert find_largest_norms(model, ["", "0", "0 1"]) == {"text": pytest.approx(12.0 * 2**0.5)}


def test_conditions_of_texts_pass_and_larger_ones_are_cut(model: FiniteSetDenoiser) -> None:
    clamped = NormClamp(model, find_largest_norms(model, ["0", "1"]))
    text, times = model.condition(["1"]), torch.tensor([50])
    noisy = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(clamped.predict(noisy, times, text).output, model.predict(noisy, times, text).output)
    large = text.map(lambda stream: stream * 10)
    assert torch.allclose(clamped.predict(noisy, times, large).output, model.predict(noisy, times, text).output)
    options = {"guidance_scale": 1.0, "num_inference_steps": 4}
    assert torch.allclose(clamped.sample(large, [3], **options), model.sample(text, [3], **options))  # type: ignore[arg-type]
    assert clamped.fingerprint != model.fingerprint != NormClamp(model, {"text": 1.0}).fingerprint
