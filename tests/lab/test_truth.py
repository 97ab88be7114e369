"""The criterion of memorisation."""

import torch

from imgaudit.io.framing import to_tensor
from imgaudit.lab.truth import carlini_ratio
from tests.conftest import random_image


def test_carlini_ratio_is_small_only_for_the_target_itself() -> None:
    training = torch.stack([to_tensor(random_image(seed)) for seed in range(1, 12)])
    target = to_tensor(random_image(0))
    own, other = carlini_ratio(torch.stack([target * 0.99, training[3]]), target, training).tolist()
    assert own < 0.2 and other > 1
