"""Truncated embeddings: exact where they must be, and within half a step elsewhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.quantisation import SETTINGS, count_stored_bits, quantise, sort_settings, truncate_embedding


def condition(seed: int, positions: int = 6, width: int = 8) -> PromptEmbeds:
    stream = torch.randn(1, positions, width, generator=torch.Generator().manual_seed(seed))
    free = torch.ones(positions, dtype=torch.bool)
    free[0] = False
    return PromptEmbeds({"text": stream}, {"text": free})


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=20), st.integers(1, 8))
def test_quantised_numbers_are_within_half_a_step_and_keep_the_extremes(values: list[float], precision: int) -> None:
    row = torch.tensor([values], dtype=torch.float64)
    rounded = quantise(row, precision)
    step = float(row.max() - row.min()) / (2**precision - 1)
    assert float((rounded - row).abs().max()) <= step / 2 + 1e-9
    assert len(torch.unique(rounded)) <= 2**precision
    assert float(rounded.min()) == pytest.approx(float(row.min())) and float(rounded.max()) == pytest.approx(
        float(row.max())
    )


def test_full_rank_and_high_precision_give_the_embedding_back_and_bos_is_never_touched() -> None:
    embedding, null = condition(1), condition(0)
    embedding.streams["text"][0, 0] = null.streams["text"][0, 0]
    whole, bits = truncate_embedding(embedding, null, None, 5, 24)
    torch.testing.assert_close(whole.streams["text"], embedding.streams["text"], atol=1e-5, rtol=1e-5)
    assert bits == count_stored_bits(5, 8, 5, 24)
    low, _ = truncate_embedding(embedding, null, 2, 1, 2)
    assert torch.equal(low.streams["text"][0, [0, 3, 4, 5]], null.streams["text"][0, [0, 3, 4, 5]])
    assert not torch.equal(low.streams["text"][0, 1], null.streams["text"][0, 1])


def test_a_difference_of_rank_one_needs_rank_one() -> None:
    null = condition(0)
    left, right = torch.randn(5, 1), torch.randn(1, 8)
    stream = null.streams["text"].clone()
    stream[0, 1:] += left @ right
    again, _ = truncate_embedding(null.with_streams({"text": stream}), null, None, 1, 20)
    torch.testing.assert_close(again.streams["text"], stream, atol=1e-4, rtol=1e-4)


def test_settings_are_tried_from_the_fewest_bits_on() -> None:
    ordered = sort_settings(condition(0, positions=16, width=64), None)
    assert sorted(ordered) == sorted(SETTINGS) and ordered[0] == (1, 1)
    bits = [count_stored_bits(15, 64, rank, precision) for rank, precision in ordered]
    assert bits == sorted(bits)
