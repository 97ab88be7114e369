import pytest
import torch
from torch.nn import Conv2d, Embedding, GroupNorm, LayerNorm, Linear, Parameter, Sequential

from imgaudit.exceptions import ModelRefusedError
from imgaudit.mitigation.weight_layers import find_weight_layers


def test_linear_layers_and_convolutions_are_found_once() -> None:
    network = Sequential(Conv2d(3, 8, 3), GroupNorm(2, 8), Embedding(4, 8), Linear(8, 4), Linear(8, 4))
    network[4].weight = network[3].weight
    assert list(find_weight_layers(network)) == ["0", "3"]


def test_a_network_without_weights_to_prune_is_refused() -> None:
    quantised = Linear(2, 2)
    quantised.weight = Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    for network in (LayerNorm(4), Sequential(quantised)):
        with pytest.raises(ModelRefusedError, match="no linear layer or convolution"):
            find_weight_layers(network)
