"""Rescaled cross-attention: against a plain loop, batched and one by one, and what it leaves behind."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.attention import AttentionRescaling, find_cross_attentions
from imgaudit.mitigation.registry import mitigate
from imgaudit.models import FiniteSetDenoiser, load_model
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_other_pipeline, make_pipeline, tiny_recipe

PROMPTS = ["a red fox", "the green hill one old clock a round table seven"]

MAKERS: dict[str, Callable[[], Any]] = {"lab": lambda: make_pipeline(tiny_recipe()), "other": make_other_pipeline}


@pytest.fixture(scope="module", params=MAKERS)
def tiny(request: pytest.FixtureRequest) -> UNetDenoiser:
    return UNetDenoiser(MAKERS[request.param](), request.param)


def _hooks(model: UNetDenoiser) -> int:
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.network.modules())


def _plain_attention(attention: Any, queries: torch.Tensor, states: torch.Tensor, kept: list[bool], factor: float):  # type: ignore[no-untyped-def]
    """One sample through one layer: (pixels, width)."""
    heads = attention.heads
    q, k, v = (layer.weight for layer in (attention.to_q, attention.to_k, attention.to_v))
    query, key, value = (queries @ q.T, states @ k.T, states @ v.T)
    size = query.shape[1] // heads
    columns = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        logits = query[:, own] @ key[:, own].T / math.sqrt(size)
        logits[:, 0] = logits[:, 0] * factor
        chosen = [token for token, is_kept in enumerate(kept) if is_kept]
        columns.append(torch.softmax(logits[:, chosen], dim=1) @ value[chosen, own])
    return attention.to_out[0](torch.cat(columns, dim=1))


@torch.no_grad()
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_conditional_attention_is_the_formula_and_the_null_half_as_it_was(
    tiny: UNetDenoiser, guidance_scale: float
) -> None:
    mitigated = AttentionRescaling(tiny, factor=1.5)
    taken: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    layer = mitigated.attentions[0]
    handle = layer.register_forward_hook(
        lambda _, given, keywords, out: taken.append((given[0], keywords["encoder_hidden_states"], out)),
        with_kwargs=True,
    )
    mitigated.sample(mitigated.condition(PROMPTS), [1, 2], guidance_scale=guidance_scale, num_inference_steps=2)
    handle.remove()
    tokens = taken[0][1].shape[1]
    words = [len(tiny.token_spans(prompt)["text"]) for prompt in PROMPTS]
    assert words[0] < tokens - 2, "there is padding to mask"
    for queries, states, out in taken:
        nulls = len(queries) - 2
        assert nulls == (2 if guidance_scale > 1 else 0)
        for row in range(len(queries)):
            kept = [True] * tokens if row < nulls else [token <= words[row - nulls] for token in range(tokens)]
            expected = _plain_attention(layer, queries[row], states[row], kept, 1.0 if row < nulls else 1.5)
            torch.testing.assert_close(out[row], expected, rtol=1e-4, atol=1e-5)


def test_batches_change_nothing_and_nothing_is_left_behind(tiny: UNetDenoiser) -> None:
    mitigated = mitigate(tiny, "attention:factor=2")
    before, settings = _hooks(tiny), {"guidance_scale": 3.0, "num_inference_steps": 3}
    bare = tiny.sample(tiny.condition(PROMPTS), [1, 2], **settings)  # type: ignore[arg-type]
    spent = tiny.network_evaluations
    together = mitigated.sample(mitigated.condition(PROMPTS), [1, 2], **settings)  # type: ignore[arg-type]
    assert tiny.network_evaluations - spent == 2 * 2 * 3
    assert not torch.allclose(together, bare)
    for row, prompt in enumerate(PROMPTS):
        alone = mitigated.sample(mitigated.condition([prompt]), [row + 1], **settings)  # type: ignore[arg-type]
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)
    repeated = mitigated.sample(mitigated.condition(PROMPTS).repeat(2), [1, 7, 2, 7], **settings)  # type: ignore[arg-type]
    torch.testing.assert_close(repeated[[0, 2]], together, rtol=1e-5, atol=1e-5)
    assert _hooks(tiny) == before
    torch.testing.assert_close(tiny.sample(tiny.condition(PROMPTS), [1, 2], **settings), bare)  # type: ignore[arg-type]
    torch.testing.assert_close(mitigated.sample(tiny.condition(PROMPTS), [1, 2], **settings), bare)  # type: ignore[arg-type]


def test_hooks_are_removed_when_sampling_fails(tiny: UNetDenoiser) -> None:
    mitigated = AttentionRescaling(tiny)
    before = _hooks(tiny)
    with pytest.raises(RuntimeError):
        mitigated.sample(
            mitigated.condition(PROMPTS), [1, 2], guidance_scale=3.0, num_inference_steps=2,
            latents=torch.zeros(2, 1, 1, 1),
        )  # fmt: skip
    assert _hooks(tiny) == before


def test_sdxl_is_rescaled_and_joint_attention_refused_with_the_reason(family_folders: dict[str, Path]) -> None:
    folder = next(path for name, path in family_folders.items() if "XL" in name)
    model = load_model(str(folder), "cpu").denoiser
    mitigated = mitigate(model, "attention")
    settings: dict[str, Any] = {"guidance_scale": 3.0, "num_inference_steps": 2}
    changed = mitigated.sample(mitigated.condition(PROMPTS), [1, 2], **settings)
    assert not torch.allclose(changed, model.sample(model.condition(PROMPTS), [1, 2], **settings))
    for name, path in family_folders.items():
        if "3" in name or "Flux" in name:
            with pytest.raises(ConfigError, match="joint attention"):
                mitigate(load_model(str(path), "cpu").denoiser, "attention")
    with pytest.raises(ConfigError, match="needs a UNet"):
        mitigate(FiniteSetDenoiser(torch.zeros(2, 3, 4, 4)), "attention")


def test_self_attention_is_left_alone(tiny: UNetDenoiser) -> None:
    names = {module: name for name, module in tiny.network.named_modules()}
    found = [names[one] for one in find_cross_attentions(tiny.network)]
    assert found and all(name.endswith("attn2") for name in found)
