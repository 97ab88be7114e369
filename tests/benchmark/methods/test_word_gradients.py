"""Weights of words by gradients, against differences of the norm that they are gradients of."""

import pytest
import torch

from imgaudit.benchmark.methods.word_gradients import AT_ROWS, AT_TOKENS, INTEGRATED, TIMES_INPUT, weigh_by_gradients
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.diffusion.word_weights import find_read_words
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.models.mixed_words import encode_mixed
from tests.conftest import make_pipeline, tiny_recipe

PROMPT = "a red fox"


def test_gradients_are_slopes_and_integrals_add_up_to_the_difference() -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "f")
    tokenizer, text_encoder = denoiser.pipeline.tokenizer, denoiser.pipeline.text_encoder
    spans = denoiser.token_spans(PROMPT)
    words = find_read_words(PROMPT, spans)
    noise, last = draw_noise([3], denoiser.latent_shape), torch.tensor(denoiser.schedule.num_train_timesteps - 1)
    found = weigh_by_gradients(denoiser, PROMPT, words, noise, last)
    condition, null = denoiser.condition([PROMPT]), denoiser.null_condition()
    base = denoiser.predict(noise, last.repeat(1), null).output.detach().double()

    def measure(rows: torch.Tensor) -> float:
        with torch.no_grad():
            output = denoiser.predict(noise, last.repeat(1), condition.with_streams({"text": rows})).output
        return float((output.double() - base).norm())

    text, row_of = condition.streams["text"], {PROMPT[low:high].strip(): row for low, high, row in spans["text"]}
    for word, weight in zip(words, found[AT_ROWS], strict=True):
        slopes = []
        for place in range(text.shape[2]):
            nudge = torch.zeros_like(text)
            nudge[0, row_of[word.text], place] = 1e-2
            slopes.append((measure(text + nudge) - measure(text - nudge)) / 2e-2)
        assert weight == pytest.approx(torch.tensor(slopes).norm().item(), rel=2e-2)

    ids = tokenizer(PROMPT, return_tensors="pt").input_ids[:, 1:-1]
    embedding = text_encoder.get_input_embeddings()
    own, padding = embedding(ids), embedding(torch.full_like(ids, tokenizer.pad_token_id))

    def measure_tokens(tokens: torch.Tensor) -> float:
        return measure(encode_mixed(text_encoder, tokenizer, tokens).last_hidden_state)

    slope = (measure_tokens(own + 1e-2 * (own - padding)) - measure_tokens(own - 1e-2 * (own - padding))) / 2e-2
    assert sum(found[TIMES_INPUT]) == pytest.approx(slope, rel=3e-2, abs=1e-4)
    whole = measure_tokens(own) - measure_tokens(padding)
    assert sum(found[INTEGRATED]) == pytest.approx(whole, rel=5e-2, abs=1e-4)
    assert all(weight > 0 for weight in found[AT_TOKENS])
    assert all(weight.grad is None for weight in denoiser.network.parameters())
