"""How many bytes of tensors are alive at once while something is computed, and how many the device has left.

On CUDA its allocator says so. Elsewhere every operator's results are counted from when they are made until they are
freed: the same number on every run and machine, and on tensors without data as well. What an operator takes for itself
while it runs, and what the allocator holds back, is not in it.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, within a `with` block, the bytes of tensors that are made there; weights and inputs are not.

    >>> with PeakBytes() as counted:
    ...     halves = [torch.zeros(100, dtype=torch.float16) for _ in range(3)]
    ...     _ = halves.pop().view(10, 10)
    >>> counted.most
    600
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = 0
        """Bytes made and not yet freed."""
        self.most = 0
        """The most there have been."""
        self._watched: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operator and watch what it made; views share the storage of what they are of."""
        given = {id(storage) for storage in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if id(storage) not in given and id(storage) not in self._watched:
                self._watch(storage)
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()

        def freed(reference: object) -> None:
            self.alive -= size
            del self._watched[key]

        self._watched[key] = weakref.ref(storage, freed)
        self.alive += size
        self.most = max(self.most, self.alive)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def measure_peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return the largest number of bytes of tensors that some work takes, above what was there before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = int(torch.cuda.memory_allocated(device))
        work()
        return int(torch.cuda.max_memory_allocated(device)) - before
    counted = PeakBytes()
    with counted:
        work()
    return counted.most


def measure_held_bytes(device: torch.device) -> int:
    """Return the bytes that are taken now: by tensors on a CUDA device, by this process elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def measure_free_bytes(device: torch.device) -> int:
    """Return the bytes that more tensors could take now."""
    if device.type == "cuda":
        # What the allocator keeps for later is free to us, though not to the device.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + int(kept)
    return int(psutil.virtual_memory().available)
