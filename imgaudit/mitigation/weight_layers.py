"""The layers of a network whose weights a mask can mark: linear ones and convolutions."""

from collections.abc import Mapping

import torch
from torch.nn import Conv1d, Conv2d, Conv3d, Linear

from imgaudit.exceptions import ModelRefusedError

WeightLayer = Linear | Conv1d | Conv2d | Conv3d


def find_weight_layers(network: torch.nn.Module) -> Mapping[str, WeightLayer]:
    """Module name to the layer, in the network's order. Weights that layers share are listed once.

    A layer's weights are looked at as (width, inner width): each row is what one output is computed from. Raises
    ModelRefusedError for a network without such layers, such as one whose weights are quantised.

    >>> list(find_weight_layers(torch.nn.Sequential(Conv2d(3, 8, 3), torch.nn.GroupNorm(2, 8), Linear(8, 4))))
    ['0', '2']
    """
    found: dict[str, WeightLayer] = {}
    seen: set[int] = set()
    for name, layer in network.named_modules():
        if isinstance(layer, WeightLayer) and layer.weight.is_floating_point() and id(layer.weight) not in seen:
            seen.add(id(layer.weight))
            found[name] = layer
    if not found:
        raise ModelRefusedError(
            f"a {type(network).__name__} has no linear layer or convolution whose weights can be pruned"
        )
    return found
