"""The untrained parts of a lab model."""

from pathlib import Path

from imgaudit.lab.components import train_tokenizer
from tests.conftest import CAPTIONS, tiny_recipe


def test_the_tokenizer_is_clips_own_class_and_survives_the_disk(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    tokenizer = train_tokenizer(CAPTIONS, recipe)
    assert train_tokenizer(CAPTIONS[::-1], recipe).get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    read = type(tokenizer).from_pretrained(tmp_path)
    for caption in [*CAPTIONS, "", "Ünseen wörds!"]:
        ids = tokenizer(caption).input_ids
        assert read(caption).input_ids == ids
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert read.model_max_length == recipe.text_positions
