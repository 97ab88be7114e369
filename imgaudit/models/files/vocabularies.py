"""Contents of an untrusted tokenizer's files, found out before a library reads them."""

import base64
import binascii
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import Family
from imgaudit.models.files.inspection import AGAIN, find_file_kind, list_files, quote, read_json, refuse_keys

MAX_VOCABULARY_BYTES = 64 * 2**20
"""Files of a tokenizer that are larger are refused unread."""

MAX_EXTRA_TOKENS = 1000
"""T5 has 100 tokens that stand for gaps; each one more is made when its tokenizer is."""

BLOCK = 256
"""Units of a double-array trie come in blocks of one per byte."""

OTHER_FORMATS = ("tekken.json", ".model")
"""Endings of file names that transformers prefers to the usual ones where there is no tokenizer.json."""


@dataclass(frozen=True)
class Vocabulary:
    """The files of a class of tokenizers, and the demands that pipelines make of it."""

    title: str
    """Name in messages."""
    files: tuple[str, ...]
    """Files that do in place of tokenizer.json; none when nothing does."""
    tokens: tuple[str, ...]
    """Tokens that it has to name: for the beginning, the end and the padding of prompts, as far as they are used."""
    names_length: bool = True
    """True where pipelines pad prompts to the length that it names; others name one themselves."""
    has_pieces: bool = False
    """True for a list of pieces and their scores; others are words."""
    has_merges: bool = True
    """True for words of which each is made by merging two."""
    is_of_bytes: bool = False
    """True where tokens are the bytes of a text, for which there is no file."""


_QWEN2 = Vocabulary("Qwen2", ("vocab.json", "merges.txt"), ("padding",), names_length=False)

VOCABULARIES: Mapping[str, Vocabulary] = MappingProxyType(
    {
        "CLIPTokenizer": Vocabulary("CLIP", ("vocab.json", "merges.txt"), ("beginning", "end", "padding")),
        "T5Tokenizer": Vocabulary("T5", ("spiece.model",), ("end", "padding"), has_pieces=True),
        "GemmaTokenizer": Vocabulary("Gemma", (), ("beginning", "padding"), names_length=False),
        "LlamaTokenizer": Vocabulary("Llama", (), ("padding",), names_length=False),
        "PreTrainedTokenizerFast": Vocabulary("the text encoder", (), ("padding",), names_length=False),
        "BertTokenizer": Vocabulary("BERT", ("vocab.txt",), ("padding",), names_length=False, has_merges=False),
        "PixtralProcessor": Vocabulary("Mistral", (), ("padding",), names_length=False),
        "Qwen2Tokenizer": _QWEN2,
        "Qwen2_5_VLProcessor": _QWEN2,
        "Qwen3VLProcessor": _QWEN2,
        "ByT5Tokenizer": Vocabulary("ByT5", (), ("end", "padding"), names_length=False, is_of_bytes=True),
    }
)
"""By the first of a component's classes."""


def refuse_tokenizers(folder: Path, index: Mapping[str, Any], family: Family) -> None:
    """Refuse tokenizers without a vocabulary of their own, or whose files harm the libraries that read them.

    Raises ModelRefusedError that names the file, with the reason and what to do.
    """
    for name, component in family.present(index, "tokenizer").items():
        _refuse_tokenizer(folder / name, VOCABULARIES[component.classes[0]])


def _refuse_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    """Refuse one tokenizer.

    Without its files transformers makes a tokenizer that knows no word, and it follows some paths in their place.
    """
    files = {path.name: path for path in list_files(folder) if path.parent == folder and find_file_kind(path) == "file"}
    whole = files.get("tokenizer.json")
    if vocabulary.is_of_bytes:
        _refuse_other_vocabulary(folder.name, files)
    elif whole is None:
        _refuse_parts(folder.name, files, vocabulary)
    elif vocabulary.has_pieces:
        refuse_pieces(whole, read_json(whole, MAX_VOCABULARY_BYTES))
    else:
        _refuse_words(whole, read_json(whole, MAX_VOCABULARY_BYTES), vocabulary)
    for path in list_files(folder):
        # Templates for conversations are read, wherever they are; some pipelines fill prompts into them.
        if path.suffix in (".txt", ".model", ".jinja") and _size(path) > MAX_VOCABULARY_BYTES:
            raise ModelRefusedError(f"{quote(path)} has more than {MAX_VOCABULARY_BYTES:,} bytes; {AGAIN}")
    for name, path in files.items():
        config = read_json(path, MAX_VOCABULARY_BYTES) if path.suffix == ".json" else {}
        # The other files map words to numbers, and any word may be among them.
        if name in ("tokenizer_config.json", "special_tokens_map.json"):
            refuse_keys(path, config)
            _refuse_paths(path, config)
            _refuse_extra_tokens(path, config)


def _size(path: Path) -> int:
    return path.stat().st_size if find_file_kind(path) == "file" else 0


def _refuse_other_vocabulary(name: str, files: Mapping[str, Path]) -> None:
    """Refuse files that a class without a vocabulary would read all the same, or in its place: ModelRefusedError."""
    if other := [file for file in files if file == "tokenizer.json" or file.endswith(OTHER_FORMATS)]:
        raise ModelRefusedError(f"{name!r} has {other[0]!r}, but its tokens are bytes: remove it")


def _refuse_parts(name: str, files: Mapping[str, Path], vocabulary: Vocabulary) -> None:
    parts = " and ".join(vocabulary.files)
    if not vocabulary.files or not set(vocabulary.files) <= files.keys():
        wanted = f"tokenizer.json, or {parts}, and has neither" if parts else "tokenizer.json, and has none"
        raise ModelRefusedError(f"{name!r} needs {wanted}; {AGAIN}")
    if other := [file for file in files if file.endswith(OTHER_FORMATS) and file not in vocabulary.files]:
        raise ModelRefusedError(f"{name!r} has {other[0]!r}, which would be read in place of {parts}: remove it")


def _refuse_words(path: Path, tokenizer: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    model = tokenizer.get("model")
    words, merges = (model.get("vocab"), model.get("merges")) if isinstance(model, dict) else (None, None)
    if not isinstance(words, dict) or not words or (vocabulary.has_merges and not isinstance(merges, list)):
        raise ModelRefusedError(f"{quote(path)} has no vocabulary{' with merges' * vocabulary.has_merges}; {AGAIN}")
    # A false one makes the Rust code panic, which prints a trace however it is caught.
    if "precompiled_charsmap" in json.dumps(tokenizer.get("normalizer")):
        raise ModelRefusedError(f"{quote(path)} has a normaliser that {vocabulary.title} does not have; {AGAIN}")


def refuse_pieces(path: Path, tokenizer: Mapping[str, Any]) -> None:
    """Refuse a vocabulary of pieces that T5 cannot have, as it stands in tokenizer.json.

    path:  where it comes from, for the message
    Raises ModelRefusedError.
    """
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, list) or not vocabulary or not all(map(_is_piece, vocabulary)):
        raise ModelRefusedError(f"{quote(path)} has no vocabulary of pieces with their scores; {AGAIN}")
    normalizer = tokenizer.get("normalizer")
    steps = normalizer.get("normalizers") if isinstance(normalizer, dict) and "normalizers" in normalizer else None
    for step in steps if isinstance(steps, list) else [normalizer]:
        table = step.get("precompiled_charsmap") if isinstance(step, dict) else None
        if table is not None and not is_sound_table(table):
            raise ModelRefusedError(f"{quote(path)} has a damaged precompiled_charsmap; {AGAIN}")
    elsewhere = {key: value for key, value in tokenizer.items() if key not in ("normalizer", "model", "added_tokens")}
    if "precompiled_charsmap" in json.dumps([elsewhere, [_without_table(step) for step in steps or [normalizer]]]):
        raise ModelRefusedError(f"{quote(path)} has a precompiled_charsmap where T5 has none; {AGAIN}")


def _is_piece(entry: Any) -> bool:
    match entry:
        case [str(), int() | float() as score]:
            return math.isfinite(score)
    return False


def _without_table(step: Any) -> Any:
    return (
        {key: value for key, value in step.items() if key != "precompiled_charsmap"} if isinstance(step, dict) else step
    )


def is_sound_table(table: Any) -> bool:
    """Return whether no text can lead the reader of a SentencePiece normaliser out of it, where it panics.

    The table is the size of a trie in bytes, the trie's units of 32 bits, and UTF-8 texts that end with a zero.
    """
    try:
        data = base64.b64decode(table, validate=True)
        end = 4 + int.from_bytes(data[:4], "little")
        texts = data[end:]
        texts.decode("utf-8")
    except (TypeError, ValueError, binascii.Error):
        return False
    if len(data) < 4 or end > len(data) or (end - 4) % 4 or end == 4:
        return False
    units = np.frombuffer(data, "<u4", offset=4, count=(end - 4) // 4).astype(np.int64)
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    reached = np.arange(len(units)) ^ offsets
    # Units with the highest bit are values; no byte leads to one, only the leaf flag of the unit before does.
    inner = units >> 31 == 0
    if ((reached | (BLOCK - 1)) >= len(units))[inner].any():
        return False
    values = units[reached[inner & (units >> 8 & 1 == 1)]] & 0x7FFFFFFF
    starts = np.frombuffer(texts + b"\0", np.uint8)
    return bool((values < len(starts)).all()) and not bool((starts[values] & 0xC0 == 0x80).any())


def _refuse_paths(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse paths out of the folder.

    Stale paths of the machine where a model was trained are common and harmless; those that exist here are not.
    """
    folder = path.parent.absolute()
    for key, value in config.items():
        if not key.endswith(("_file", "_files")):
            continue
        for text in value if isinstance(value, list) else [value]:
            target = Path(os.path.normpath(folder / str(text)))
            if not target.is_relative_to(os.path.normpath(folder)) and find_file_kind(target) != "missing":
                raise ModelRefusedError(
                    f"{quote(path)} sets {key!r} to {text!r:.200}, which is outside the model's folder: delete the key"
                )


def _refuse_extra_tokens(path: Path, config: Mapping[str, Any]) -> None:
    extra = config.get("extra_ids", 0)
    if not isinstance(extra, int) or not 0 <= extra <= MAX_EXTRA_TOKENS:
        raise ModelRefusedError(
            f"{quote(path)} sets extra_ids to {extra!r:.80}; expected a number from 0 to {MAX_EXTRA_TOKENS:,}"
        )
