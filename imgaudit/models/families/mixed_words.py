"""Adapters that condition on mixtures of words: those whose prompts are read by text encoders of CLIP and T5 alone."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.mixed_words import encode_mixed, encode_mixed_t5, find_single_token_words, mix_tokens


class MixedWordsDenoiser(LatentDenoiser):
    """A pipeline whose text encoders are all given the same prompt, or the same mixtures of words."""

    @cached_property
    def _words(self) -> Mapping[str, tuple[int, ...]]:
        """Words to their token ids, one for each tokenizer: those that all of them read as themselves."""
        first, *others = (find_single_token_words(tokenizer) for tokenizer, _ in self._text_lengths().values())
        return {
            word: (number, *(other[word] for other in others))
            for word, number in first.items()
            if all(word in other for other in others)
        }

    @cached_property
    def words(self) -> Sequence[str]:
        """Whole words of the vocabulary that every tokenizer reads again as the same single token."""
        return list(self._words)

    @property
    def word_positions(self) -> int:
        """Positions beside BOS and EOS, in the text encoder that has the fewest."""
        return min(
            length - int(tokenizer.num_special_tokens_to_add()) for tokenizer, length in self._text_lengths().values()
        )

    def _encode_words(self, weights: torch.Tensor) -> list[Any]:
        """Return each text encoder's output for the mixtures, between BOS where it has one, and EOS and padding.

        weights:  (N, positions, len(words)) float32
        """
        ids = torch.tensor(list(self._words.values()), device=self.device)
        outputs = []
        for number, (name, (tokenizer, length)) in enumerate(self._text_lengths().items()):
            text_encoder = getattr(self.pipeline, name)
            mixed = mix_tokens(text_encoder, weights, ids[:, number])
            if text_encoder.config.model_type == "t5":
                outputs.append(encode_mixed_t5(text_encoder, tokenizer, mixed, length))
            else:
                outputs.append(encode_mixed(text_encoder, tokenizer, mixed))
        return outputs
