"""Words proposed by a masked language model, and the folders that are refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.masked_lm import load_masked_lm


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a vocabulary of whole words and one piece."""
    folder = tmp_path_factory.mktemp("bert") / "tiny"
    folder.mkdir()
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "image",
        "of",
        "a",
        "red",
        "fox",
        "boat",
        "clock",
        "##s",
        ",",
    ]
    (folder / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokens), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=32)  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_a_masked_language_model_proposes_whole_words(bert: Path) -> None:
    proposal = load_masked_lm(bert)
    whole = {"image", "of", "a", "red", "fox", "boat", "clock"}
    first, second = proposal.sentences(4, [generator(0), generator(1)])
    assert len(first) == len(second) == 4 and set(first) | set(second) <= whole
    found = proposal.candidates([first, second], [0, 3], 4, [generator(), generator()])
    for own, word in zip(found, (first[0], second[3]), strict=True):
        assert own[0].word == word and len({one.word for one in own}) == len(own) == 4
        assert {one.word for one in own} <= whole
    # The word that stands in the place does not count, those beside it do; batches change nothing.
    other = proposal.candidates([["fox", *first[1:]]], [0], 7, [generator()])[0]
    same = proposal.candidates([["boat", *first[1:]]], [0], 7, [generator()])[0]
    assert {one.word for one in other} == {one.word for one in same} == whole
    scores = proposal._scores([first, second], [0, 3])
    assert torch.allclose(scores[1], proposal._scores([second], [3])[0], atol=1e-5)
    with pytest.raises(ModelRefusedError, match="fewer --words"):
        proposal.candidates([["fox"] * 600], [599], 4, [generator()])


def test_strangers_language_models_are_refused(bert: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(ModelRefusedError, match="is no folder"):
        load_masked_lm(tmp_path / "none")
    for name, change, message in (
        ("code", {"auto_map": {"AutoModelForMaskedLM": "x.Y"}}, "auto_map"),
        ("kind", {"model_type": "gpt2"}, "of type 'gpt2'"),
        ("wide", {"intermediate_size": 10**9}, "which the tensors are not of"),
        ("deep", {"num_hidden_layers": 10**6}, "sets num_hidden_layers to 1000000"),
    ):
        folder = Path(shutil.copytree(bert, tmp_path / name))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
        with pytest.raises(ModelRefusedError, match=message):
            load_masked_lm(folder)
    folder = Path(shutil.copytree(bert, tmp_path / "pickled"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelRefusedError, match="only pickled weights"):
        load_masked_lm(folder)
