"""The span of texts, against principal components by numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.diffusion.text_span import TextSpan, compose_texts
from imgaudit.exceptions import ConfigError
from imgaudit.schema.protocol import SpanConfig
from tests.support.tiny_transformers import adapt, make_pixart

CONFIG = SpanConfig(texts=40, directions=12)


def flatten(streams: dict[str, torch.Tensor]) -> np.ndarray:
    return np.concatenate([stream.flatten(1).double().numpy() for stream in streams.values()], axis=1)


def test_texts_are_of_words_and_always_the_same() -> None:
    words = [*(f"word{letter}" for letter in "abcdefghij"), "12", "a", "x-y"]
    texts = compose_texts(words, 50)
    assert texts == compose_texts(words, 50) and texts[:10] == compose_texts(words, 10)
    assert {len(text.split()) for text in texts} == {3, 4, 5, 6, 7}
    assert {word for text in texts for word in text.split()} <= set(words[:10])


def test_where_there_are_few_words_texts_are_made_of_all_tokens() -> None:
    letters = list("abcdefg")
    texts = compose_texts(["red", *letters], 50)
    assert {word for text in texts for word in text.split()} == {"red", *letters}


def test_a_vocabulary_without_words_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"only 3 tokens .* --search inversion"):
        compose_texts(["red", "blue", "7"], 1)


def test_directions_are_the_principal_components_of_the_texts(denoiser: Any, span: TextSpan) -> None:
    texts = compose_texts(denoiser.vocabulary, CONFIG.texts)
    streams = dict(denoiser.condition(texts).streams)
    centred = {name: stream - stream.mean(0, keepdim=True) for name, stream in streams.items()}
    scaled = {name: stream / stream.square().sum().sqrt() for name, stream in centred.items()}
    _, values, components = np.linalg.svd(flatten(scaled), full_matrices=False)
    found = flatten({name: rows / centred[name].square().sum().sqrt() for name, rows in span.directions.items()})
    lengths = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(lengths, values[:12] / np.sqrt(CONFIG.texts), rtol=1e-4)
    # The same axes, whatever their signs.
    agreement = np.abs((found / lengths[:, None]) @ components[:12].T)
    np.testing.assert_allclose(agreement, np.eye(12), atol=5e-3)


def test_coordinates_of_the_texts_have_unit_variance(denoiser: Any, span: TextSpan) -> None:
    coordinates = span.shares * CONFIG.texts**0.5
    torch.testing.assert_close(coordinates.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(coordinates.square().mean(0), torch.ones(12), atol=1e-4, rtol=0)


def test_the_origin_is_the_mean_and_the_first_row_of_clip_never_moves(denoiser: Any, span: TextSpan) -> None:
    texts = compose_texts(denoiser.vocabulary, CONFIG.texts)
    streams = denoiser.condition(texts).streams
    origin = span.condition(torch.zeros(2, len(span)))
    assert len(origin) == 2
    for name, stream in origin.streams.items():
        torch.testing.assert_close(stream, streams[name].mean(0, keepdim=True).expand_as(stream), atol=1e-5, rtol=0)
    assert float(span.directions["clip"][:, 0].abs().max()) < 1e-5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_projecting_is_the_adjoint_of_spanning(denoiser: Any, span: TextSpan, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.randn(3, len(span), generator=generator)
    gradients = {name: torch.randn(3, *rows.shape[1:], generator=generator) for name, rows in span.directions.items()}
    condition, origin = span.condition(coordinates), span.condition(torch.zeros(3, len(span)))
    moved = {name: condition.streams[name] - stream for name, stream in origin.streams.items()}
    along = sum(float((moved[name] * gradient).sum()) for name, gradient in gradients.items())
    assert along == pytest.approx(float((coordinates * span.project(gradients)).sum()), rel=1e-3, abs=1e-3)


def test_masked_families_are_spanned_with_every_row_seen() -> None:
    denoiser: Any = adapt(make_pixart())
    [text] = compose_texts(denoiser.vocabulary, 1)
    masked, seen = denoiser.condition([text]), denoiser.unmasked_condition([text])
    kept = masked.extras["mask"][0].bool()
    assert bool(seen.extras["mask"].bool().all()) and not bool(kept.all())
    torch.testing.assert_close(seen.streams["text"][0, kept], masked.streams["text"][0, kept], rtol=0, atol=0)
    last = masked.streams["text"][0, kept][-1]
    assert bool((seen.streams["text"][0, ~kept] == last).all())
