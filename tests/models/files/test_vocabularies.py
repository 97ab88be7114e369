"""Tokenizers of strangers' models: a vocabulary of their own, and nothing in it that harms what reads it."""

import base64
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.files.vocabularies import MAX_VOCABULARY_BYTES, is_sound_table

# Raised inside diffusers' DPM-Solver; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

FLUX, SANA, QWEN = "FluxPipeline", "SanaPipeline", "QwenImagePipeline"


@pytest.mark.usefixtures("stand_in")
def test_t5_needs_a_vocabulary_of_its_own(copied_family: Callable[[str], BrokenModel]) -> None:
    model = copied_family(FLUX)
    model.remove("tokenizer_2/tokenizer.json")
    with pytest.raises(ModelRefusedError, match=r"'tokenizer_2' needs tokenizer.json, or spiece.model"):
        load_model(str(model.path), "cpu")
    model.write("tokenizer_2/spiece.model", model.trap())
    with pytest.raises(ModelRefusedError, match=r"'tokenizer_2' (has no tokenizer.json|cannot be loaded)"):
        load_model(str(model.path), "cpu")
    with (model.path / "tokenizer_2/spiece.model").open("wb") as file:
        os.truncate(file.fileno(), 65 * 2**20)
    with pytest.raises(ModelRefusedError, match="has more than 67,108,864 bytes"):
        load_model(str(model.path), "cpu")
    assert not model.planted.exists()


def table(units: list[int], texts: bytes) -> str:
    packed = b"".join(unit.to_bytes(4, "little") for unit in units)
    return base64.b64encode(len(packed).to_bytes(4, "little") + packed + texts).decode()


def one_rule(value: int = 0, offset: int = 0, texts: bytes = b"b\0") -> str:
    """A normaliser that turns "a" into the text at `value`."""
    units = [number & 0xFF for number in range(512)]
    # The root leads byte b to unit 256 ^ b; that of "a" is a leaf whose value stands at the unit it leads to.
    units[0], units[256 ^ 97], units[256 ^ 97 ^ 2] = 256 << 10, 97 | 1 << 8 | (2 ^ offset) << 10, 1 << 31 | value
    return table(units, texts)


def test_a_table_is_sound_only_if_no_text_leads_out_of_it(copied_family: Callable[[str], BrokenModel]) -> None:
    assert is_sound_table(one_rule())
    harmful = {
        "text beyond the end": one_rule(value=3),
        "text that begins within a letter": one_rule(value=1, texts="é\0".encode()),
        "unit beyond the end": one_rule(offset=1 << 12),
        "trie longer than the file": base64.b64encode(b"\xff\xff\xff\xff" + bytes(40)).decode(),
        "no trie": base64.b64encode(bytes(4)).decode(),
        "no text": table([0] * 256, b"\xff\xfe"),
        "no base64": "%%%",
        "nothing": "",
    }
    for name, value in harmful.items():
        assert not is_sound_table(value), name
    assert not is_sound_table(7)


@pytest.mark.usefixtures("stand_in")
def test_the_normaliser_of_t5_is_used_and_a_damaged_one_is_refused(copied_family: Callable[[str], BrokenModel]) -> None:
    model, file = copied_family(FLUX), "tokenizer_2/tokenizer.json"
    model.change(file, {"normalizer": {"type": "Precompiled", "precompiled_charsmap": one_rule()}})
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert pipeline.tokenizer_2("a").input_ids == pipeline.tokenizer_2("b").input_ids
    damaged = {"type": "Precompiled", "precompiled_charsmap": one_rule(value=3)}
    for normalizer in (damaged, {"type": "Sequence", "normalizers": [{"type": "NFC"}, damaged]}):
        model.change(file, {"normalizer": normalizer})
        with pytest.raises(ModelRefusedError, match="has a damaged precompiled_charsmap"):
            load_model(str(model.path), "cpu")
    nested = {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [damaged]}]}
    for key in ("normalizer", "pre_tokenizer"):
        model.change(file, {"normalizer": None} | {key: nested})
        with pytest.raises(ModelRefusedError, match="has a precompiled_charsmap where T5 has none"):
            load_model(str(model.path), "cpu")


def tokenizer_of(model: BrokenModel) -> Any:
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    return pipeline.tokenizer


def split_vocabulary(model: BrokenModel) -> None:
    """Store Qwen-Image's words and merges apart, as they are published: what is special is not among the words."""
    words = json.loads((model.path / "tokenizer/tokenizer.json").read_bytes())["model"]["vocab"]
    plain = {word: number for word, number in words.items() if len(word) == 1}
    model.remove("tokenizer/tokenizer.json")
    model.write("tokenizer/vocab.json", json.dumps(plain).encode())
    model.write("tokenizer/merges.txt", b"#version: 0.2\n")


@pytest.mark.usefixtures("stand_in")
def test_the_vocabulary_of_qwen_image_may_be_in_two_files(copied_family: Callable[[str], BrokenModel]) -> None:
    model, text = copied_family(QWEN), "a red fox<|endoftext|>"
    before = tokenizer_of(model)(text).input_ids
    split_vocabulary(model)
    assert tokenizer_of(model)(text).input_ids == before and before[-1] == 256
    for other in ("tekken.json", "tiktoken.model", "tokenizer.model"):
        model.write(f"tokenizer/{other}", b"{}")
        with pytest.raises(ModelRefusedError, match=f"has '{other}', which would be read in place of vocab.json and"):
            load_model(str(model.path), "cpu")
        model.remove(f"tokenizer/{other}")
    model.remove("tokenizer/merges.txt")
    with pytest.raises(ModelRefusedError, match=r"needs tokenizer.json, or vocab.json and merges.txt, and has neither"):
        load_model(str(model.path), "cpu")


@pytest.mark.usefixtures("stand_in")
def test_gemma_needs_a_tokenizer_json(copied_family: Callable[[str], BrokenModel]) -> None:
    model = copied_family(SANA)
    model.remove("tokenizer/tokenizer.json")
    model.write("tokenizer/tokenizer.model", model.trap())
    with pytest.raises(ModelRefusedError, match=r"'tokenizer' needs tokenizer.json, and has none"):
        load_model(str(model.path), "cpu")
    assert not model.planted.exists()


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("family", [SANA, QWEN])
def test_a_word_that_the_language_model_lacks_is_refused(
    family: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    model, file = copied_family(family), "tokenizer/tokenizer.json"
    part = json.loads((model.path / file).read_bytes())["model"]
    for changed, reason in (
        ({"vocab": part["vocab"] | {"zebra": 10**6}}, "has a token 1,000,000, but the text encoder knows"),
        ({"vocab": {"a": "one"}}, "'tokenizer' cannot be loaded"),
        ({"merges": [["no", "words"]]}, "'tokenizer' cannot be loaded"),
    ):
        model.change(file, {"model": part | changed})
        with pytest.raises(ModelRefusedError, match=reason):
            load_model(str(model.path), "cpu")


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("file", ["merges.txt", "chat_template.jinja", "additional_chat_templates/more.jinja"])
def test_files_that_are_read_whole_have_a_longest_length(
    file: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    model = copied_family(QWEN)
    split_vocabulary(model)
    model.write(f"tokenizer/{file}", b"")
    os.truncate(model.path / "tokenizer" / file, MAX_VOCABULARY_BYTES + 1)
    with pytest.raises(ModelRefusedError, match="has more than 67,108,864 bytes"):
        load_model(str(model.path), "cpu")
    model.remove(f"tokenizer/{file}")
    os.mkfifo(model.path / "tokenizer" / file)
    with pytest.raises(ModelRefusedError, match="is not a regular file, but a pipe or a device"):
        load_model(str(model.path), "cpu")
