"""Networks in training: weights, their average, the optimiser and its learning rate, and checkpoints of all of it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass
class Trainee:
    """The networks that are trained together, their average, and the optimiser: what a checkpoint holds."""

    networks: Mapping[str, torch.nn.Module]
    """The networks by name."""
    optimiser: torch.optim.Optimizer
    """The optimiser of all their weights."""
    average: dict[str, torch.Tensor]
    """Running average of every weight, by the names of network and weight."""
    filtered: torch.Tensor
    """(images,) int64: how often each image was left out of the loss."""
    step: int = 0
    """Steps that have been taken."""

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every weight with the names of its network and itself."""
        for prefix, network in self.networks.items():
            for name, weight in network.named_parameters():
                yield f"{prefix}.{name}", weight

    def save(self, path: Path) -> None:
        """Write a checkpoint; a file that is there already is replaced once the new one is complete."""
        state: dict[str, Any] = {name: network.state_dict() for name, network in self.networks.items()}
        state |= {
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
            "filtered": self.filtered,
        }
        temporary = path.with_suffix(".partial")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, weights_only=True)
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step, self.filtered = state["step"], state.get("filtered", self.filtered)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the weights as they are now; it keeps the share `decay` of itself."""
        # Early on the average follows closely, so that it never remembers the random initial weights.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        for name, weight in self.named_weights():
            self.average[name].lerp_(weight.detach(), 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """Replace the weights by their average."""
        for name, weight in self.named_weights():
            weight.copy_(self.average[name])


def start_trainee(networks: Mapping[str, torch.nn.Module], learning_rate: float, images: int) -> Trainee:
    """Return networks before their first step, with AdamW.

    images:  number of images of which it is counted how often they were left out
    """
    weights = [weight for network in networks.values() for weight in network.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=1e-2, betas=(0.9, 0.99))
    trainee = Trainee(networks, optimiser, {}, torch.zeros(images, dtype=torch.int64))
    trainee.average = {name: weight.detach().clone() for name, weight in trainee.named_weights()}
    return trainee


def _learning_rate(step: int, steps: int, peak: float) -> float:
    warm_up = max(1, min(200, steps // 10))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def set_rate(optimiser: torch.optim.Optimizer, step: int, steps: int, peak: float) -> None:
    """Set the learning rate of a step: a linear warm-up to the peak, then half a cosine down to 0."""
    for group in optimiser.param_groups:
        group["lr"] = _learning_rate(step, steps, peak)
