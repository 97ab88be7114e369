"""The weights of feed-forward blocks that memorised prompts use more than others: Chavhan et al., arXiv 2406.18566.

Wanda scores (Sun et al., ICLR 2024) of a layer with weights W at sampling step k are S_k = |W| * a_k, a_k the column
norms of its input. A weight belongs to the memorisation at step k when

    S_k(targets) is among the largest `sparsity` of its row   and   S_k(targets) > S_k(others)

and is pruned when it does so at any of the first steps.
"""

from collections.abc import Mapping

import torch
from torch.nn import Linear

from imgaudit.mitigation.activations import ColumnNorms

Mask = Mapping[str, torch.Tensor]
"""Layer to (width, inner width) bool: which weights are pruned."""


def build_wanda_mask(layers: Mapping[str, Linear], targets: ColumnNorms, others: ColumnNorms, sparsity: float) -> Mask:
    """Mark the weights that belong to the memorisation at any of the steps.

    sparsity:  share of each row, above 0 and up to 1; at least one weight a row is looked at

    >>> layer = Linear(2, 1, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, -3.0]])
    >>> norms = {"a": torch.tensor([[1.0, 1.0]])}, {"a": torch.tensor([[2.0, 0.5]])}
    >>> build_wanda_mask({"a": layer}, *norms, sparsity=0.5)["a"].tolist()
    [[False, True]]
    """
    mask = {}
    for name, layer in layers.items():
        weights = layer.weight.detach().abs().double().cpu()
        count = max(1, int(sparsity * weights.shape[1]))
        chosen = torch.zeros(weights.shape, dtype=torch.bool)
        for target, other in zip(targets[name], others[name], strict=True):
            scores = weights * target
            largest = torch.zeros_like(chosen)
            largest.scatter_(1, scores.topk(count, dim=1).indices, True)
            chosen |= largest & (scores > weights * other)
        mask[name] = chosen
    return mask


def draw_random_mask(mask: Mask, seed: int) -> Mask:
    """Draw as many weights of every row at random: a control for the effect of pruning that many."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name in sorted(mask):
        order = torch.rand(mask[name].shape, generator=generator).argsort(dim=1).argsort(dim=1)
        drawn[name] = order < mask[name].sum(dim=1, keepdim=True)
    return drawn


def density(mask: Mask) -> float:
    """Return the share of the weights of all its layers that a mask prunes."""
    return sum(int(one.sum()) for one in mask.values()) / max(1, sum(one.numel() for one in mask.values()))


def overlap(first: Mask, second: Mask) -> float:
    """Return the intersection over union of two masks of the same layers; 0 when both are empty."""
    both = sum(int((first[name] & second[name]).sum()) for name in first)
    either = sum(int((first[name] | second[name]).sum()) for name in first)
    return both / either if either else 0.0
