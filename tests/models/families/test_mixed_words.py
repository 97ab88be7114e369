"""Mixtures of words through text encoders of CLIP and T5, beside the pipelines' own encoding of the same words."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot

from imgaudit.models.families.flux import FluxDenoiser
from imgaudit.models.families.mixed_words import MixedWordsDenoiser
from imgaudit.models.families.sd3 import SD3Denoiser
from tests.support.tiny_transformers import make_flux, make_sd3

MODELS: dict[str, Callable[[], MixedWordsDenoiser]] = {
    "sd3": lambda: SD3Denoiser(make_sd3(), "f"),
    "sd3 without t5": lambda: SD3Denoiser(make_sd3(with_t5=False), "f"),
    "flux dev": lambda: FluxDenoiser(make_flux(), "f"),
    "flux schnell": lambda: FluxDenoiser(make_flux(guidance_embeds=False), "f"),
}


@pytest.fixture(params=MODELS, scope="module")
def denoiser(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


def test_words_are_those_that_every_tokenizer_reads_as_one_token(denoiser: Any) -> None:
    for tokenizer, _ in denoiser._text_lengths().values():
        special = tokenizer.num_special_tokens_to_add()
        assert all(len(tokenizer(word).input_ids) == 1 + special for word in denoiser.words)
    assert len(denoiser.words) == len(set(denoiser.words)) > 5


@pytest.mark.parametrize("count", [1, 3, None], ids=["one word", "three words", "as many as there is room for"])
def test_a_mixture_of_one_word_each_is_the_prompt_as_the_pipeline_encodes_it(denoiser: Any, count: int | None) -> None:
    words, positions = denoiser.words, count or denoiser.word_positions
    chosen = torch.randint(len(words), (2, positions), generator=torch.Generator().manual_seed(2))
    mixed = denoiser.condition_words(one_hot(chosen, len(words)).float())
    texts = [" ".join(words[place] for place in row) for row in chosen.tolist()]
    assert not any(denoiser.cut_tokens(text) for text in texts)
    own = denoiser.condition(texts)
    torch.testing.assert_close(dict(mixed.streams), dict(own.streams), atol=1e-5, rtol=1e-5)
    assert {name: free.tolist() for name, free in mixed.free.items()} == {
        name: free.tolist() for name, free in own.free.items()
    }
    if count is None:
        assert denoiser.cut_tokens(" ".join([*texts[0].split(), words[0]]))


def test_every_stream_depends_on_every_word(denoiser: Any) -> None:
    weights = torch.full((1, 3, len(denoiser.words)), 1 / len(denoiser.words), requires_grad=True)
    for name, stream in denoiser.condition_words(weights).streams.items():
        [gradient] = torch.autograd.grad(stream.square().sum(), weights, retain_graph=True)
        assert bool((gradient != 0).any(dim=2).all()), name
