"""The criterion of memorisation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imgaudit.diffusion.executor import Executor
from imgaudit.io.framing import to_tensor
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.lab.examination import choose_subjects
from imgaudit.lab.truth import Subject, Truth, carlini_ratio, measure_truth
from imgaudit.schema.pairs import Region
from tests.conftest import random_image


@pytest.fixture
def training() -> torch.Tensor:
    """(12, 3, 16, 16): pictures that have nothing in common."""
    return torch.stack([to_tensor(random_image(seed, (16, 16))) for seed in range(12)])


def test_carlini_ratio_is_small_only_for_the_target_itself() -> None:
    training = torch.stack([to_tensor(random_image(seed)) for seed in range(1, 12)])
    target = to_tensor(random_image(0))
    own, other = carlini_ratio(torch.stack([target * 0.99, training[3]]), target, training).tolist()
    assert own < 0.2 and other > 1


class Painter:
    """A denoiser that paints a picture's layout every time, and its content for even seeds."""

    def __init__(self, target: torch.Tensor, other: torch.Tensor, region: torch.Tensor) -> None:
        self.target, self.other, self.region = target, other, region

    def condition(self, texts: list[str]) -> "Painter":
        """Conditions are not looked at."""
        return self

    def select(self, rows: torch.Tensor) -> "Painter":
        """Any rows."""
        return self

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Latents are pixels."""
        return images

    decode = encode

    def sample(self, condition: object, seeds: list[int], **settings: float) -> torch.Tensor:
        """Paint one image for each seed."""
        content = [self.target if seed % 2 == 0 else self.other for seed in seeds]
        return torch.where(self.region, self.target, torch.stack(content))


def test_a_layout_counts_where_it_lies_whatever_the_content(training: torch.Tensor) -> None:
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[:10] = True
    pixels = torch.cat([training, torch.where(region, training[0], training[5])[None]])
    painter: Any = Painter(pixels[0], pixels[7], region)
    others = list(range(1, len(pixels)))
    subject = Subject("a caption", others, region, others[:-1])
    truth = measure_truth(painter, {0: subject}, pixels, Executor(64))[0]
    assert (truth.reproduced, truth.layouts, truth.seeds) == (32, 64, 64)
    painter.target = pixels[9]
    assert measure_truth(painter, {0: subject}, pixels, Executor(64))[0] == Truth(0, 16)


def test_subjects_know_their_family() -> None:
    region = Region.of(np.eye(16, dtype=bool))
    entries = [
        CorpusEntry(Path("a"), "a", "template", 1, family="x", region=region),
        CorpusEntry(Path("b"), "b", "variation", 1, family="x", region=region),
        CorpusEntry(Path("c"), "c", "planted", 2),
        CorpusEntry(Path("d"), "d", "held_out", 0),
        CorpusEntry(Path("e"), "e"),
    ]
    subjects = choose_subjects(entries, 128)
    assert list(subjects) == [0, 2]
    assert (list(subjects[0].others), list(subjects[0].strangers)) == ([1, 2, 4], [2, 4])
    assert subjects[0].region is not None and subjects[0].region.shape == (128, 128)
    assert float(subjects[0].region.float().mean()) == pytest.approx(region.area)
    assert (list(subjects[2].others), subjects[2].region) == ([0, 1, 4], None)
