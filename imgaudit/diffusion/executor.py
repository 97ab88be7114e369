"""Run a function over slices of a batch that fit into memory."""

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from accelerate.utils import memory

from imgaudit.exceptions import MemoryShortageError

Result = TypeVar("Result")


class Executor:
    """Hands out batches of at most `batch_size`; when memory runs out, halves that and repeats only the failed slice.

    The smaller size is kept, so that the next call does not fail again. Slices depend on nothing random, and every
    method sums over samples, so the size changes numbers only within floating point rounding.
    """

    def __init__(self, batch_size: int, spare_memory: Callable[[], bool] = lambda: False) -> None:
        """spare_memory: asked when not even one element fits, and says whether less memory is needed from now on."""
        self.batch_size = batch_size
        """The largest slice; smaller than asked for once memory has run out."""
        self._spare_memory = spare_memory

    def slices(self, count: int, function: Callable[[slice], Result], *, each: int = 1) -> Iterator[Result]:
        """Yield function(slice) over range(count).

        each:   network samples that one element costs (2 under guidance), so that a slice never exceeds the batch
        Raises MemoryShortageError when even a single element does not fit.

        >>> list(Executor(2).slices(5, lambda rows: rows.stop - rows.start))
        [2, 2, 1]
        """
        start = 0
        while start < count:
            size = max(1, self.batch_size // each)
            try:
                result = function(slice(start, min(start + size, count)))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1 and not self._spare_memory():
                    raise MemoryShortageError(
                        "not even one image at a time fits into memory: use a device with more, or --device cpu"
                    ) from error
                self.batch_size = max(1, self.batch_size // 2)
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield result
            start += size


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out; on the CPU these are plain RuntimeErrors.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, Exception) and bool(memory.should_reduce_batch_size(error))
