"""The last linear layer of every feed-forward block of a network, found by structure and not by name.

Chavhan et al. (arXiv 2406.18566) prune these: FFN-2 of each transformer block of a UNet. Diffusion transformers have
them too, under other names and with other activations (GELU, GEGLU, SwiGLU), and joint attention has one for the text.
"""

from collections.abc import Mapping

import torch
from torch.nn import Linear

from imgaudit.exceptions import ModelRefusedError


def find_feed_forward_outputs(network: torch.nn.Module) -> Mapping[str, Linear]:
    """Module name to the layer, (width, inner width) weights, in the network's order.

    A feed-forward block is a module of linear layers, without attention or convolutions, that leads from a width to a
    larger inner one and back: the last layer reads what the first one gives, or half of it where the other half gates.

    Raises ModelRefusedError for a network without one, such as Sana's, which mixes by convolutions.

    >>> block = torch.nn.Sequential(Linear(4, 16), torch.nn.GELU(), Linear(16, 4))
    >>> list(find_feed_forward_outputs(torch.nn.ModuleDict({"mlp": block})))
    ['mlp.2']
    """
    names = {layer: name for name, layer in network.named_modules() if isinstance(layer, Linear)}
    found: dict[str, Linear] = {}
    for module in network.modules():
        last = _output_of(module)
        if last is not None:
            found.setdefault(names[last], last)
    if not found:
        raise ModelRefusedError(
            f"a {type(network).__name__} has no feed-forward block of linear layers, which is what is pruned"
        )
    return {name: found[name] for name in names.values() if name in found}


def _output_of(module: torch.nn.Module) -> Linear | None:
    """Return the last layer when the module is a feed-forward block, else None."""
    parts = [part for part in module.modules() if part is not module and not list(part.children())]
    layers = [part for part in parts if isinstance(part, Linear)]
    if len(layers) not in (2, 3) or any(hasattr(part, "weight") and not isinstance(part, Linear) for part in parts):
        return None
    first, last = layers[0], layers[-1]
    leads_back = first.in_features == last.out_features < last.in_features
    fed = last.in_features in (first.out_features, first.out_features / 2)
    return last if leads_back and fed else None
