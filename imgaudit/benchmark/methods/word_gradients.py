"""Weights of words by gradients, which the benchmark of word weights compares with exchanging words.

All of them are gradients of the norm of d, the difference of the conditional and the null prediction at the noisiest
timestep: at the rows of the text encoder's output (Wen et al., ICLR 2024, arXiv 2407.21720, section 2.2), at the token
embeddings that the encoder reads, that gradient times the embedding, and integrated gradients (Sundararajan et al.,
ICML 2017, arXiv 1703.01365), the last two against a prompt of padding.
"""

from collections.abc import Sequence

import torch

from imgaudit.diffusion.word_weights import ReadWord
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.models.mixed_words import encode_mixed

AT_ROWS = "gradient, encoder's output"
AT_TOKENS = "gradient, token embeddings"
TIMES_INPUT = "gradient times embedding"
INTEGRATED = "integrated gradients"
INTERVALS = 4
"""Of the integral from padding to the prompt, each taken at its middle."""


def weigh_by_gradients(
    denoiser: UNetDenoiser, prompt: str, words: Sequence[ReadWord], noise: torch.Tensor, timestep: torch.Tensor
) -> dict[str, list[float]]:
    """Return each kind of weight of each word: the heaviest of its tokens at rows, as published; else their sum.

    noise:     (S, C, h, w) float32, standard normal; norms of gradients are averaged over it
    timestep:  () int64
    """
    tokenizer, text_encoder = denoiser.pipeline.tokenizer, denoiser.pipeline.text_encoder
    length = int(tokenizer.model_max_length)
    ids = tokenizer(prompt, truncation=True, max_length=length, return_tensors="pt").input_ids[:, 1:-1]
    embedding = text_encoder.get_input_embeddings()
    own, padding = embedding(ids), embedding(torch.full_like(ids, tokenizer.pad_token_id))
    times, condition = timestep.repeat(len(noise)), denoiser.condition([prompt]).repeat(len(noise))
    with torch.no_grad():
        null = denoiser.predict(noise, times, denoiser.null_condition().repeat(len(noise))).output

    def differentiate(share: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return gradients at rows and at token embeddings, (S, tokens, width), so far from padding to the prompt."""
        mixed = (padding + share * (own - padding)).repeat(len(noise), 1, 1).requires_grad_(True)
        rows = encode_mixed(text_encoder, tokenizer, mixed).last_hidden_state
        output = denoiser.predict(noise, times, condition.with_streams({"text": rows})).output
        norms = torch.linalg.vector_norm((output - null).flatten(1), dim=1)
        at_rows, at_tokens = torch.autograd.grad(norms.sum(), [rows, mixed])
        return at_rows[:, 1 : 1 + ids.shape[1]], at_tokens

    at_rows, at_tokens = differentiate(1.0)
    between = [differentiate((number + 0.5) / INTERVALS)[1] for number in range(INTERVALS)]
    by_token = {
        AT_ROWS: at_rows.norm(dim=2).mean(dim=0),
        AT_TOKENS: at_tokens.norm(dim=2).mean(dim=0),
        TIMES_INPUT: (at_tokens.mean(dim=0) * (own - padding)[0]).sum(dim=1),
        INTEGRATED: (torch.stack(between).mean(dim=(0, 1)) * (own - padding)[0]).sum(dim=1),
    }
    spans = denoiser.token_spans(prompt)["text"]
    rows_of = [
        [row - 1 for low, high, row in spans if any(low < end and start < high for start, end in word.places)]
        for word in words
    ]
    return {
        name: [float(values[rows].max() if name == AT_ROWS else values[rows].sum()) for rows in rows_of]
        for name, values in by_token.items()
    }
