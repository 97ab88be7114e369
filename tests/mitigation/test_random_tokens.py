"""Random tokens: the prompt's words keep their order."""

import pytest
import torch

from imgaudit.mitigation.random_tokens import RandomTokens
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_pipeline, tiny_recipe


@pytest.fixture(scope="module")
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def test_random_tokens_keep_the_prompts_words_in_order_and_are_the_same_for_the_same_prompt(tiny: UNetDenoiser) -> None:
    mitigated = RandomTokens(tiny, count=3, seed=1)
    changed = mitigated.insert_words("a red fox")
    words = changed.split()
    assert len(words) == 6 and changed == mitigated.insert_words("a red fox") != RandomTokens(
        tiny, count=3
    ).insert_words("a red fox")
    places = iter(words)
    assert all(word in places for word in ["a", "red", "fox"])
    torch.testing.assert_close(mitigated.condition(["a red fox"]).streams, tiny.condition([changed]).streams)
    torch.testing.assert_close(mitigated.null_condition().streams, tiny.null_condition().streams)
