"""Masks of weights, against plain loops."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.mitigation.wanda import build_wanda_mask, density, draw_random_mask, overlap


def test_the_mask_is_that_of_a_plain_loop_over_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(10, 4)
    weights = layer.weight.data = torch.randn(4, 10, generator=generator)
    targets, others = (torch.rand(2, 10, generator=generator).double() for _ in range(2))
    mask = build_wanda_mask({"a": layer}, {"a": targets}, {"a": others}, 0.3)["a"]
    for row in range(4):
        for column in range(10):
            marked = False
            for step in range(2):
                scores = [abs(float(weights[row, c])) * float(targets[step, c]) for c in range(10)]
                largest = sorted(range(10), key=lambda c, s=scores: -s[c])[:3]  # type: ignore[misc]
                own = abs(float(weights[row, column])) * float(others[step, column])
                marked |= column in largest and scores[column] > own
            assert bool(mask[row, column]) == marked


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 17))
def test_random_masks_have_as_many_weights_in_every_row(seed: int, rows: int, columns: int) -> None:
    mask = {"a": torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed % 97)) < 0.3}
    drawn = draw_random_mask(mask, seed)
    assert torch.equal(drawn["a"].sum(dim=1), mask["a"].sum(dim=1)) and density(drawn) == density(mask)
    assert torch.equal(draw_random_mask(mask, seed)["a"], drawn["a"])
    assert overlap(mask, mask) == (1.0 if mask["a"].any() else 0.0)
