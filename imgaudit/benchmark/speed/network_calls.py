"""The passes of a model's networks during some work: recorded as they happen, and repeated by the bare networks."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from imgaudit.models.families.latent import LatentDenoiser

DENOISERS = ("denoiser", "null denoiser")
"""The network that is inverted, and the one that predicts the null where it is another."""


@dataclass(frozen=True)
class Call:
    """One kind of pass: the same network with inputs of the same shapes."""

    network: str
    """One of `DENOISERS`, "encoder", "decoder", or the pipeline's name of a text encoder."""
    shapes: tuple[tuple[int, ...], ...]
    """Of all tensors that go in."""
    backward: bool
    """Whether gradients are taken to the inputs that need them."""


@dataclass(frozen=True)
class Example:
    """The inputs of the first pass of a kind, by which the others are repeated."""

    network: torch.nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class NetworkCalls:
    """Hooks on every network of a model, which count its passes by kind and part of the work."""

    def __init__(self, denoiser: LatentDenoiser) -> None:
        self.denoiser = denoiser
        self.networks = _find_networks(denoiser)
        self.examples: dict[Call, Example] = {}
        """Inputs of each kind of pass."""

    @contextmanager
    def recording(
        self, begin: Callable[[Call], str], end: Callable[[Call], None]
    ) -> Iterator[dict[str, Counter[Call]]]:
        """Record the passes within a block; gives them by the part of the work that they belong to.

        begin:  called before each pass; returns the part of the work
        end:    called after each pass forward
        """
        found: dict[str, Counter[Call]] = {}
        running: list[Call] = []
        hooks = []

        def before(name: str, network: torch.nn.Module, arguments: Any, keywords: Any) -> None:
            call = self._describe(name, network, arguments, keywords)
            running.append(call)
            found.setdefault(begin(call), Counter())[call] += 1

        def after(*_: Any) -> None:
            end(running.pop())

        for name, network in self.networks.items():
            hooks.append(network.register_forward_pre_hook(_with_name(name, before), with_kwargs=True))
            hooks.append(network.register_forward_hook(after))
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    def _describe(self, name: str, network: torch.nn.Module, arguments: Any, keywords: Any) -> Call:
        given = [one for one in tree_leaves((arguments, keywords)) if isinstance(one, torch.Tensor)]
        backward = torch.is_grad_enabled() and any(one.requires_grad for one in given)
        call = Call(name, tuple(tuple(one.shape) for one in given), backward)
        if call not in self.examples:
            kept = tree_map(_detach, (arguments, keywords))
            self.examples[call] = Example(network, *kept)
        return call

    def repeat(self, calls: Mapping[Call, int]) -> float:
        """Make recorded passes again, one after the other and nothing else; returns the seconds that they take.

        A pass backward is one from the sum of squares of what the network returns, to the inputs that needed gradients.
        """
        counted = self.denoiser.network_evaluations
        self.synchronize()
        started = time.perf_counter()
        for call, count in calls.items():
            for _ in range(count):
                _make_pass(self.examples[call], backward=call.backward)
        self.synchronize()
        seconds = time.perf_counter() - started
        self.denoiser.network_evaluations = counted
        return seconds

    def synchronize(self) -> None:
        """Wait until everything is computed."""
        if self.denoiser.device.type != "cpu":
            getattr(torch, self.denoiser.device.type).synchronize()


def _find_networks(denoiser: LatentDenoiser) -> dict[str, torch.nn.Module]:
    """Return the networks that audits call, by name. Those of the autoencoder are called without itself."""
    pipeline = denoiser.pipeline
    found = dict(zip(DENOISERS, denoiser.networks.values(), strict=False))
    found |= {"encoder": pipeline.vae.encoder, "decoder": pipeline.vae.decoder}
    texts = {name: part for name, part in pipeline.components.items() if name.startswith("text_encoder") and part}
    return {**found, **texts}


def _with_name(name: str, hook: Callable[..., None]) -> Callable[..., None]:
    return lambda *given: hook(name, *given)


def _detach(value: Any) -> Any:
    """Return a copy of a tensor that is nobody's result; whatever is no tensor stays."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def _make_pass(example: Example, *, backward: bool) -> None:
    with torch.set_grad_enabled(backward):
        output = example.network(*example.arguments, **example.keywords)
        if not backward:
            return
        first = next(one for one in tree_leaves(tuple(output.values()) if isinstance(output, dict) else output)
                     if isinstance(one, torch.Tensor))  # fmt: skip
        given = tree_leaves((example.arguments, example.keywords))
        leaves = [one for one in given if isinstance(one, torch.Tensor) and one.requires_grad]
        torch.autograd.grad(first.square().sum(), leaves)
