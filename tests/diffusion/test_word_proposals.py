"""Words for a search over prompts: the distributions they are drawn from, and strangers' files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.diffusion.word_proposals import (
    CaptionProposal,
    VocabularyProposal,
    count_words,
    make_vocabulary_proposal,
    read_words,
    split_caption,
)
from imgaudit.exceptions import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_conditionals_of_captions_are_those_of_their_chain() -> None:
    proposal = CaptionProposal(["a b c", "a c", "b b c", "c a"], "captions")

    def joint(words: list[str]) -> float:
        places = [proposal._place[word] for word in words]
        end = len(proposal.words)
        pairs = zip([end, *places], [*places, end], strict=True)
        return float(np.prod([proposal._after(left)[right] for left, right in pairs]))

    assert all(proposal._after(place).sum() == pytest.approx(1) for place in range(4))
    for position in range(3):
        exact = np.array([joint([*"acb"[:position], word, *"acb"[position + 1 :]]) for word in proposal.words])
        drawn = [one.word for one in proposal.candidates([list("acb")], [position], 20_001, [generator()])[0][1:]]
        counts = np.array([drawn.count(word) for word in proposal.words]) / len(drawn)
        assert np.abs(counts - exact / exact.sum()).max() < 0.02


def test_further_words_are_known_without_neighbours() -> None:
    proposal = CaptionProposal(["a red fox"] * 5, "captions", ["fox", "owl", "two words", "\x00"])
    assert set(proposal.words) == {"a", "red", "fox", "owl"}
    drawn = [one.word for one in proposal.candidates([["a", "red", "fox"]], [2], 20_000, [generator()])[0]]
    assert 0 < drawn.count("owl") < drawn.count("fox")


@settings(max_examples=50)
@given(st.lists(st.text(max_size=40), max_size=8))
def test_words_of_anything_are_single_and_printable(texts: list[str]) -> None:
    for word in [*count_words(texts), *(word for text in texts for word in split_caption(text))]:
        assert len(word.split()) == 1 and word.isprintable() and len(word) <= 64


def test_hostile_words_files(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"a red\x1b[31m fox \xe2\x80\xaehidden " + b"x" * 100_000 + b"\n<script> boat\x00\n")
    assert set(read_words(path).words) == {"a", "fox", "<script>"}
    for content, message in ((b"\xff\xfe\xfa", "cannot be read"), (b"one one", "at least 2 words"), (b"", "at least")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_words(path)
    with pytest.raises(InputError, match="is a folder"):
        read_words(tmp_path)
    with pytest.raises(InputError, match="expected single words"):
        VocabularyProposal({"a b": 1, "c": 1}, "x")
    assert (
        "imgaudit's list" in make_vocabulary_proposal([]).name
        and "own words" in make_vocabulary_proposal(["fox", "boat", "!"]).name
    )
    assert make_vocabulary_proposal([]).digest != make_vocabulary_proposal(["fox", "boat"]).digest
