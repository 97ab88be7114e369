"""numpy's matrix products on one thread, while the images of an audit are compared.

They are small there. OpenBLAS, which numpy's packages bring, would divide each among threads of its own, and these wait
for the next product busily: for a while they take a processor from whatever comes after. The last digits of a product
also depend on how it was divided, so on one thread they are the same on machines with any number of processors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let OpenBLAS use one thread for the duration, in all threads of this process.

    torch's own products keep their threads. Nothing changes without OpenBLAS, as on macOS, nor where another thread of
    this process has set the number: threadpoolctl leaves that one in charge.

    >>> with one_blas_thread():
    ...     {one["num_threads"] for one in _find_openblas().info()} <= {1}
    True
    """
    with _find_openblas().limit(limits=1):
        yield


@cache
def _find_openblas() -> ThreadpoolController:
    """Find the copies of OpenBLAS that are loaded. Looking takes longer than limiting, so it is done once."""
    return ThreadpoolController().select(internal_api="openblas")
