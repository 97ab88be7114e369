"""Mixtures of words instead of words, through the text encoders of CLIP and T5.

A search over prompts takes its gradients from them. CLIP's encoder takes token ids only, so its lookup is answered with
the mixture; T5's takes embeddings.
"""

from typing import Any

import torch


def find_single_token_words(tokenizer: Any) -> dict[str, int]:
    """Return whole printable words that the tokenizer reads as the same single token: text to id, in order
    of ids.
    """
    ids = [number for number in range(len(tokenizer)) if number not in tokenizer.all_special_ids]
    texts = [text.strip() for text in tokenizer.batch_decode([[number] for number in ids])]
    again = tokenizer(texts, add_special_tokens=False).input_ids
    return {
        text: number
        for number, text, read in zip(ids, texts, again, strict=True)
        if text and text.isprintable() and " " not in text and read == [number]
    }


def mix_tokens(text_encoder: Any, weights: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return weighted means of token embeddings: (N, positions, width), differentiable in the weights.

    weights:  (N, positions, tokens) float, one column for each of `ids`
    """
    tokens = text_encoder.get_input_embeddings().weight
    return weights.to(tokens) @ tokens[ids]


def encode_mixed(text_encoder: Any, tokenizer: Any, mixed: torch.Tensor) -> Any:
    """Return the text encoder's output, hidden states included, for BOS, the mixtures, EOS and padding.

    mixed:  (N, up to positions - 2, width) token embeddings
    """
    embedding, (count, inner, _) = text_encoder.get_input_embeddings(), mixed.shape
    padding = [tokenizer.pad_token_id] * (int(tokenizer.model_max_length) - inner - 2)
    # Pooled vectors are taken at EOS, which is looked for among the ids; BOS stands for those of the mixtures.
    sequence = [tokenizer.bos_token_id] * (1 + inner) + [tokenizer.eos_token_id, *padding]
    ids = torch.tensor(sequence, device=mixed.device)
    ends = embedding.weight[ids].expand(count, -1, -1)
    whole = torch.cat([ends[:, :1], mixed, ends[:, 1 + inner :]], dim=1)
    handle = embedding.register_forward_hook(lambda module, arguments, output: whole)
    try:
        return text_encoder(ids.expand(count, -1), output_hidden_states=True)
    finally:
        handle.remove()


def encode_mixed_t5(text_encoder: Any, tokenizer: Any, mixed: torch.Tensor, length: int) -> Any:
    """Return T5's output for the mixtures, EOS and padding, none of it hidden, as the pipelines read T5.

    mixed:   (N, up to length - 1, width) token embeddings
    length:  tokens in all
    """
    count, inner, _ = mixed.shape
    ends = [tokenizer.eos_token_id, *[tokenizer.pad_token_id] * (length - inner - 1)]
    rows = text_encoder.get_input_embeddings().weight[torch.tensor(ends, device=mixed.device)]
    return text_encoder(inputs_embeds=torch.cat([mixed, rows.expand(count, -1, -1)], dim=1))
