"""Words proposed by a masked language model (BERT and its kind) in a folder, which is inspected before it is loaded."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from imgaudit.diffusion.word_proposals import LONGEST_WORD, Candidate
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import (
    AGAIN,
    find_file_kind,
    hash_model_files,
    list_files,
    model_fingerprint,
    read_json,
    refuse_keys,
    refuse_leaving,
)
from imgaudit.models.files.vocabularies import MAX_VOCABULARY_BYTES
from imgaudit.models.files.weights import Weights, find_weights
from imgaudit.models.library_errors import refuse_errors

KINDS = ("bert", "distilbert", "electra")
"""Model types whose tokenizers write the pieces that continue a word with ##."""

MAX_MODEL_BYTES = 8 * 2**30
"""Folders with larger weights are refused; BERT-large has 1.3 GB."""

MOST_TOKENS = 512
"""Number of tokens for models that do not say how many they read."""

SIZES = ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings", "embedding_size", "dim",
         "hidden_dim", "type_vocab_size")  # fmt: skip
"""Keys of configurations that are sizes of tensors."""

LAYERS = ("num_hidden_layers", "n_layers")
"""Keys that are numbers of layers."""

PREFIX = "image of a"
"""Read by the language model alone, as published: prompts are made to follow it."""


class MaskedWordProposal:
    """The k whole words that a masked language model holds for the likeliest in a place, whatever stands there now.

    Each weighs the same, as in MemBench (arXiv 2407.17095): candidates come from the language model, the choice among
    them from D alone. Chains whose present word is not among the k may not be able to come back, so that they keep
    exp(D / K) only roughly.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, digest: str) -> None:
        """Refuse a tokenizer without a mask, or a vocabulary without two whole words. Raises ModelRefusedError."""
        self.name, self.digest = name, digest
        self._model, self._tokenizer = model.eval(), tokenizer
        if tokenizer.mask_token_id is None:
            raise ModelRefusedError("the masked language model's tokenizer names no mask token; " + AGAIN)
        special, rows = set(tokenizer.all_special_tokens), model.get_input_embeddings().weight.shape[0]
        self._longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", MOST_TOKENS))
        self._words = {
            number: token for token, number in tokenizer.get_vocab().items()
            if token not in special and number < rows and len(token) <= LONGEST_WORD and token.isalnum()
        }  # fmt: skip
        if len(self._words) < 2:
            raise ModelRefusedError("the masked language model's vocabulary has no whole words; " + AGAIN)
        self._allowed = torch.full((rows,), -torch.inf)
        self._allowed[list(self._words)] = 0.0

    @torch.no_grad()
    def _scores(self, texts: Sequence[Sequence[str]], positions: Sequence[int]) -> torch.Tensor:
        """Return logits of whole words for one masked place of each text: (N, vocabulary) float32, -inf elsewhere."""
        mask = self._tokenizer.mask_token
        given = [
            " ".join([PREFIX, *words[:position], mask, *words[position + 1 :]])
            for words, position in zip(texts, positions, strict=True)
        ]
        encoded = self._tokenizer(given, padding=True, return_tensors="pt")
        if encoded["input_ids"].shape[1] > self._longest:
            raise ModelRefusedError(
                f"the masked language model reads {self._longest} tokens, and a prompt has more; use fewer --words"
            )
        logits = self._model(**encoded).logits.float()
        rows = []
        for row, (words, position) in enumerate(zip(texts, positions, strict=True)):
            places = (encoded["input_ids"][row] == self._tokenizer.mask_token_id).nonzero().flatten()
            # Places that are still to be filled are masks too; the one asked for follows those before it.
            before = sum(word == mask for word in words[:position])
            rows.append(logits[row, places[before]])
        return torch.stack(rows).cpu() + self._allowed[: logits.shape[-1]]

    def sentences(self, length: int, generators: Sequence[torch.Generator]) -> list[list[str]]:
        """Draw sentences from masks alone, place by place, by the language model's probabilities."""
        found = [[self._tokenizer.mask_token] * length for _ in generators]
        for position in range(length):
            scores = self._scores(found, [position] * len(found))
            for words, row, generator in zip(found, scores, generators, strict=True):
                number = int(torch.multinomial(torch.softmax(row.double(), dim=0), 1, generator=generator))
                words[position] = self._words[number]
        return found

    def candidates(
        self, sentences: Sequence[Sequence[str]], positions: Sequence[int], count: int,
        generators: Sequence[torch.Generator],
    ) -> list[list[Candidate]]:  # fmt: skip
        """Propose the present word and the likeliest others; draws nothing."""
        scores = self._scores(sentences, positions)
        found = []
        for sentence, position, row in zip(sentences, positions, scores, strict=True):
            best = row.topk(min(count, len(self._words))).indices.tolist()
            others = [word for number in best if (word := self._words[number]) != sentence[position]]
            found.append([Candidate(word, 0.0) for word in (sentence[position], *others[: count - 1])])
        return found


def load_masked_lm(folder: Path) -> MaskedWordProposal:
    """Load a masked language model of a local folder: safetensors only, no code of its own, nothing fetched.

    folder:  as transformers' `save_pretrained` writes it, model and tokenizer, of one of KINDS
    Raises ModelRefusedError with the reason and what to do.
    """
    if not folder.is_dir():
        raise ModelRefusedError(
            f"{str(folder)!r} is no folder: expected a masked language model as transformers saves it"
        )
    path = folder / "config.json"
    refuse_leaving(path, folder)
    config = read_json(path)
    if config.get("model_type") not in KINDS:
        raise ModelRefusedError(
            f"the masked language model is of type {config.get('model_type')!r:.80}; expected one of {', '.join(KINDS)}"
        )
    sizes = 0
    for file in list_files(folder):
        refuse_leaving(file, folder)
        sizes += file.stat().st_size if find_file_kind(file) == "file" else 0
        if file.suffix == ".json":
            content = read_json(file, MAX_VOCABULARY_BYTES)
            # Vocabularies map words to numbers, and any word may be among them.
            if file.name not in ("tokenizer.json", "vocab.json"):
                refuse_keys(file, content)
        elif file.suffix == ".txt" and file.stat().st_size > MAX_VOCABULARY_BYTES:
            raise ModelRefusedError(f"{file.name!r} has more than {MAX_VOCABULARY_BYTES:,} bytes; {AGAIN}")
    if sizes > MAX_MODEL_BYTES:
        raise ModelRefusedError(
            f"the masked language model has {sizes:,} bytes; at most {MAX_MODEL_BYTES:,} are loaded"
        )
    weights = find_weights(folder, "model")
    _refuse_sizes(config, weights)
    with refuse_errors("the masked language model cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, report = AutoModelForMaskedLM.from_pretrained(
            folder, config=AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True,
        )  # fmt: skip
    if missing := sorted(report["missing_keys"]):
        raise ModelRefusedError(f"{folder.name!r} lacks the tensor {missing[0]!r:.99}, which would be random; {AGAIN}")
    fingerprint = model_fingerprint(hash_model_files(folder, weights.files))
    digest = hashlib.sha256(f"masked language model {fingerprint}".encode()).hexdigest()
    return MaskedWordProposal(model, tokenizer, f"masked language model {folder.resolve().name[:80]!r}", digest)


def _refuse_sizes(config: Mapping[str, Any], weights: Weights) -> None:
    """Refuse a network that is larger than its weights: it would be made before they are read."""
    shapes = list(weights.shapes.values())
    known = {size for shape in shapes for size in shape}
    layers = {int(found[1]) for name in weights.shapes if (found := re.search(r"\.layer\.(\d{1,4})\.", name))}
    wrong = [key for key in SIZES if key in config and (type(config[key]) is not int or config[key] not in known)]
    wrong += [key for key in LAYERS if key in config and config[key] != len(layers)]
    if wrong:
        raise ModelRefusedError(
            f"'config.json' sets {wrong[0]} to {config[wrong[0]]!r:.40}, which the tensors are not of; {AGAIN}"
        )
