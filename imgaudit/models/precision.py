"""Networks that compute in float32 for a while: gradients and training lose too much in half precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch


@contextmanager
def in_float32(network: torch.nn.Module) -> Iterator[None]:
    """Give all weights of a network float32, and afterwards each of its tensors the precision that it had.

    A network of half precision can hold tensors in float32, such as tables of rotary positions. Converting the network
    as a whole would round them for good.

    >>> network = torch.nn.BatchNorm1d(2)
    >>> network.weight.data = network.weight.data.bfloat16()
    >>> with in_float32(network):
    ...     print(network.weight.dtype)
    torch.float32
    >>> network.weight.dtype, network.running_mean.dtype
    (torch.bfloat16, torch.float32)
    """
    precisions = {name: tensor.dtype for name, tensor in _tensors(network)}
    network.float()
    try:
        yield
    finally:
        for name, tensor in _tensors(network):
            tensor.data = tensor.data.to(precisions[name])


def _tensors(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return chain(network.named_parameters(), network.named_buffers())
