"""Conditions that hide nothing, of families whose prompts are masked."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import torch
from pytest import MonkeyPatch

from imgaudit.models.families.masked_text import MaskedTextDenoiser, build_masked_condition
from imgaudit.models.families.transformer import spread_rows
from tests.support.tiny_transformers import adapt, make_pixart, make_qwen_image, make_sana

PROMPTS = ["a red fox", "one old clock and a boat"]
MAKERS: Mapping[str, Callable[[], Any]] = {"pixart": make_pixart, "sana": make_sana}


@pytest.fixture(params=MAKERS)
def denoiser(request: pytest.FixtureRequest) -> MaskedTextDenoiser:
    return cast(MaskedTextDenoiser, adapt(MAKERS[request.param]()))


def test_the_last_row_of_every_prompt_stands_in_for_those_that_padding_hides(denoiser: MaskedTextDenoiser) -> None:
    masked, seen = denoiser.condition(PROMPTS), denoiser.unmasked_condition(PROMPTS)
    assert bool(seen.extras["mask"].all()) and not bool(masked.extras["mask"].all())
    assert torch.equal(seen.free["text"], masked.free["text"])
    for row, mask in enumerate(masked.extras["mask"].bool()):
        own = masked.streams["text"][row]
        assert torch.equal(seen.streams["text"][row, mask], own[mask])
        assert torch.equal(seen.streams["text"][row, ~mask], own[mask][-1].expand(int((~mask).sum()), -1))


def test_where_nothing_is_padded_the_condition_is_the_pipelines(
    denoiser: MaskedTextDenoiser, monkeypatch: MonkeyPatch
) -> None:
    text = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    whole = build_masked_condition(text, torch.ones(2, 5, dtype=torch.long), first_is_free=True)
    monkeypatch.setattr(denoiser, "condition", lambda prompts: whole)
    seen = denoiser.unmasked_condition(PROMPTS)
    assert torch.equal(seen.streams["text"], text) and torch.equal(seen.extras["mask"], whole.extras["mask"])


def test_inversions_start_from_the_prompt_that_the_pipeline_guides_away_from(denoiser: MaskedTextDenoiser) -> None:
    null, start = denoiser.null_condition(), denoiser.start_condition()
    text, mask = null.streams["text"], null.extras["mask"]
    [*_, last] = mask[0].nonzero()[:, 0].tolist()
    filled = torch.where(mask.bool()[:, :, None], text, text[:, last : last + 1])
    assert torch.equal(start.streams["text"], spread_rows(filled))
    assert torch.equal(start.extras["mask"], torch.ones_like(mask))


def test_qwen_image_shows_of_a_text_as_many_rows_as_of_none() -> None:
    denoiser = adapt(make_qwen_image())
    start, whole, seen = denoiser.start_condition(), denoiser.condition(PROMPTS), denoiser.unmasked_condition(PROMPTS)
    shown = start.extras["mask"][0].bool()
    assert torch.equal(seen.extras["mask"], start.extras["mask"].expand(2, -1))
    assert torch.equal(seen.streams["text"][:, shown], whole.streams["text"][:, shown])
    assert not bool(seen.streams["text"][:, ~shown].any()) and bool(whole.streams["text"][:, ~shown].any())
    assert torch.equal(seen.free["text"], start.free["text"])
