"""Make vectors of images in worker processes: a file that kills its reader is left out, and the others are read."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import torch

from imgaudit.exceptions import ConfigError, ImageError, ImgauditError
from imgaudit.index.faiss_file import Vectors
from imgaudit.io.framing import frame_image, to_tensor
from imgaudit.io.images import MAX_BYTES, load_image
from imgaudit.io.reading import hash_file
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors import DESCRIPTOR_NAMES, Descriptor, describe_judged, load_descriptor

FRAMING = Framing.SQUASH
"""The whole image, its aspect ratio changed: nothing is cut off that a copy may have kept."""

SIDE = 512
"""Pixels of the square that a descriptor gets which does not say its own."""

KILLED = "the file ends the process that reads it"
"""Reason given for an image whose reader died."""


class ImageEntry(NamedTuple):
    """One entry of a folder."""

    path: Path
    reason: str | None = None
    """Reason that it is not read, if that is known already."""
    sha256: str = ""
    """SHA-256 of its bytes once it was read; empty where it was not."""


class DescribedEntries(NamedTuple):
    """Items, dealt with."""

    items: Sequence[ImageEntry]
    """Each with the reason why there is no vector, where there is none."""
    vectors: Vectors
    """Those of the others, in order."""


def find_descriptor(name: str) -> Descriptor | None:
    """Return the descriptor of this name, or None where it is unknown or lacks its weights or packages."""
    if name not in DESCRIPTOR_NAMES:
        return None
    loaded = _load(name)
    return None if isinstance(loaded, Skipped) else loaded


def require_descriptor(name: str) -> Descriptor:
    """Return the descriptor of this name. Raises ConfigError that lists the known ones."""
    if name not in DESCRIPTOR_NAMES:
        raise ConfigError(f"images can be described by {', '.join(DESCRIPTOR_NAMES)}, but not by {name!r:.80}")
    loaded = _load(name)
    if isinstance(loaded, Skipped):
        raise ConfigError(f"images cannot be described by {name!r} here: {loaded.skipped}")
    return loaded


@cache
def _load(name: str) -> Descriptor | Skipped:
    """Load once per process: weights are large, and checking their known answers takes a second."""
    return load_descriptor(name)


def find_image_side(descriptor: Descriptor) -> int:
    """Return the side, in pixels, of the square in which a descriptor gets images."""
    return int(getattr(descriptor, "side", SIDE))


def describe_entries(descriptor: Descriptor, items: Sequence[ImageEntry]) -> DescribedEntries:
    """Read, frame and describe images; each that cannot be read, or told from others, gets its reason."""
    read: list[ImageEntry] = []
    tensors: list[torch.Tensor] = []
    side = find_image_side(descriptor)
    for item in items:
        reason, digest = item.reason, item.sha256
        if reason is None:
            try:
                image = load_image(item.path)
                tensors.append(to_tensor(frame_image(image.pixels, side, FRAMING)))
                digest = image.sha256
            except ImageError as error:
                reason, digest = f"the file {error}", _hash_unread(item.path)
        read.append(ImageEntry(item.path, reason, digest))
    columns = descriptor.dimension // 8 if descriptor.binary else descriptor.dimension
    dtype = np.uint8 if descriptor.binary else np.float32
    if not tensors:
        return DescribedEntries(read, np.zeros((0, columns), dtype))
    judged = describe_judged(descriptor, torch.stack(tensors))
    kept = np.array([not reason for reason in judged.reasons])
    reasons = iter(judged.reasons)
    read = [item if item.reason else item._replace(reason=next(reasons) or None) for item in read]
    return DescribedEntries(read, np.ascontiguousarray(judged.vectors[kept], dtype))


def _hash_unread(path: Path) -> str:
    """Return the digest of a file that gave no image; empty where it cannot be opened or is too large to be one."""
    try:
        return "" if path.is_symlink() else hash_file(path, MAX_BYTES)
    except (OSError, ImgauditError):
        return ""


_descriptor: list[Descriptor] = []


def _begin(name: str) -> None:
    """Set up a worker: quiet on Ctrl-C, which the parent handles, one thread, and never outliving its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _descriptor.append(require_descriptor(name))
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch(sentinel: int = parent.sentinel) -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _work(items: Sequence[ImageEntry]) -> DescribedEntries:
    return describe_entries(_descriptor[0], items)


class Describer:
    """Worker processes that describe images; with `workers` 0 this process does it."""

    def __init__(self, name: str, workers: int) -> None:
        self.descriptor = require_descriptor(name)
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _submit(self, items: Sequence[ImageEntry]) -> "Future[DescribedEntries]":
        if self._pool is None:
            # Forking a process that runs threads (torch, BLAS) can leave the child waiting for a lock for ever.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, _begin, (self.descriptor.name,))
        return self._pool.submit(_work, items)

    def describe(self, tasks: Iterator[Sequence[ImageEntry]]) -> Iterator[DescribedEntries]:
        """Deal with every task, in order; a few are in hand at any moment."""
        if self.workers == 0:
            for items in tasks:
                yield describe_entries(self.descriptor, items)
            return
        waiting: deque[tuple[Sequence[ImageEntry], Future[DescribedEntries] | None]] = deque()
        for items in tasks:
            waiting.append((items, self._try(items)))
            if len(waiting) > 4 * self.workers:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _try(self, items: Sequence[ImageEntry]) -> "Future[DescribedEntries] | None":
        try:
            return self._submit(items)
        except BrokenProcessPool:
            return None

    def _next(self, waiting: "deque[tuple[Sequence[ImageEntry], Future[DescribedEntries] | None]]") -> DescribedEntries:
        items, future = waiting.popleft()
        try:
            if future is not None:
                return future.result()
        except BrokenProcessPool:
            pass
        # One file has ended a worker, and with it all that was in hand: the task is done image by image, the rest anew.
        self._stop()
        result = self._one_by_one(items)
        waiting.extend([(one, self._try(one)) for one, _ in [waiting.popleft() for _ in range(len(waiting))]])
        return result

    def _one_by_one(self, items: Sequence[ImageEntry]) -> DescribedEntries:
        parts = []
        for item in items:
            try:
                parts.append(self._submit([item]).result())
            except BrokenProcessPool:
                self._stop()
                refused = ImageEntry(item.path, item.reason or KILLED, _hash_unread(item.path))
                parts.append(describe_entries(self.descriptor, [refused]))
        return DescribedEntries(
            [item for part in parts for item in part.items], np.concatenate([part.vectors for part in parts])
        )
