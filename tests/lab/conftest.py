"""A small corpus on disk for the lab's tests."""

from pathlib import Path

import pytest

from imgaudit.lab.corpus import (
    CorpusEntry,
    split_corpus,
    write_corpus,
)
from tests.conftest import CAPTIONS, random_image, tiny_recipe

SPLIT = {"planted_repeats": (1, 2), "planted": 2, "seen_once": 3, "held_out": 5}
"""Roles that a corpus of 20 images is split into."""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    entries = []
    for seed in range(20):
        path = folder / f"{seed:02d}.png"
        random_image(seed).save(path)
        entries.append(CorpusEntry(path, f"{CAPTIONS[seed % 6]} {seed}"))
    write_corpus(split_corpus(entries, tiny_recipe(**SPLIT)), folder)
    return folder
