"""The options of commands that measure: how many processes do it, on which devices, here or on a cluster."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.signatures import Heading, option
from imgaudit.exceptions import ConfigError
from imgaudit.schema.config import AuditConfig

if TYPE_CHECKING:
    from imgaudit.models import LoadedModel
    from imgaudit.runs.engine.ray_actors import RayActors
    from imgaudit.runs.engine.workers import Workers

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

MOST_WORKERS = 4096


@dataclass(frozen=True)
class EngineOptions:
    """The processes that measure."""

    workers: Annotated[
        int | None,
        option(Heading.MACHINE, "Processes that measure at the same time, each with its own copy of the model.",
               metavar="N", default="one; one per GPU with Ray"),
    ] = None  # fmt: skip
    """Number of processes."""
    devices: Annotated[
        str | None,
        option(Heading.MACHINE, "Devices to measure on at the same time, one process on each: such as cuda:0,cuda:1.",
               metavar="NAME,...", default="a single one"),
    ] = None  # fmt: skip
    """Devices, with commas between."""
    worker_threads: Annotated[
        int | None,
        option(Heading.MACHINE, "Processor threads of each of these processes.", metavar="N",
               default="the processors, divided; 1 with Ray"),
    ] = None  # fmt: skip
    """Threads of each process."""
    engine: Annotated[
        Literal["local", "ray"],
        option(Heading.MACHINE, "Where images are measured: local, on this machine; or ray, on a cluster that Ray "
               "manages.", metavar="NAME"),
    ] = "local"  # fmt: skip
    """Engine by its name."""
    address: Annotated[
        str | None,
        option(Heading.MACHINE, "Running Ray cluster to use with --engine ray: auto, or HOST:PORT.",
               metavar="ADDRESS", default="one on this machine, for this command"),
    ] = None  # fmt: skip
    """Address of a Ray cluster."""

    def require_valid(self, config: AuditConfig) -> None:
        """Refuse what contradicts itself, before anything takes time. Raises ConfigError that says what to change."""
        for name, value in (("--workers", self.workers), ("--worker-threads", self.worker_threads)):
            if value is not None and not 1 <= value <= MOST_WORKERS:
                raise ConfigError(f"{name} must be a whole number from 1 to {MOST_WORKERS:,}, but got {value}")
        if wrong := [name for name in self._names if not DEVICE.fullmatch(name)]:
            raise ConfigError(
                f"--devices: expected auto, cpu, mps, cuda or cuda:N between commas, but got {wrong[0]!r}"
            )
        if self.engine == "local":
            if self.address is not None:
                raise ConfigError("--address is for --engine ray: add it, or leave --address out")
            if self.worker_threads is not None and not self._divides:
                raise ConfigError("--worker-threads is for several processes: add --workers or --devices")
            return
        if self.devices is not None:
            raise ConfigError("--engine ray gives every process a GPU itself: leave --devices out")
        if config.offline:
            raise ConfigError("Ray's processes speak over connections, which --offline forbids: use --workers instead")

    @property
    def _names(self) -> list[str]:
        return [name.strip() for name in self.devices.split(",")] if self.devices is not None else []

    @property
    def _divides(self) -> bool:
        return self.workers is not None or self.devices is not None

    def find_first_device(self, device: str) -> str:
        """Return the device on which the command itself loads the model, which `device` names otherwise."""
        return self._names[0] if self._names else device

    def list_devices(self, device: str) -> list[str]:
        """Return the device of each worker process: those that were named in turn, or all GPUs where auto finds some.

        >>> EngineOptions(workers=3, devices="cuda:0,cuda:1").list_devices("auto")
        ['cuda:0', 'cuda:1', 'cuda:0']
        """
        names = self._names or _spread(device)
        count = self.workers or len(names)
        return [names[number % len(names)] for number in range(count)]

    @contextmanager
    def opened(self, model: ModelChoice, config: AuditConfig) -> "Iterator[Workers | RayActors | None]":
        """Hold the processes that measure; None where this one does. Whatever happens, none is left at the end."""
        if self.engine == "ray":
            from imgaudit.runs.engine.ray_actors import RayActors

            with RayActors(
                model.load_silently, self.workers, device=config.device, threads=self.worker_threads,
                address=self.address,
            ) as actors:  # fmt: skip
                yield actors
        elif self._divides:
            from imgaudit.runs.engine.workers import Workers

            with Workers(model.load_silently, self.list_devices(config.device), self.worker_threads) as workers:
                yield workers
        else:
            yield None


PLAIN = EngineOptions()
"""The command's own process measures."""


def _spread(device: str) -> list[str]:
    """Return every GPU where `auto` was asked for and there are several; the device itself otherwise."""
    if device != "auto":
        return [device]
    import torch

    count = torch.cuda.device_count()
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [device]


def count_evaluations(model: "LoadedModel", engine: "Workers | RayActors | None") -> Callable[[], int]:
    """Return a function that counts the network evaluations so far, those of all processes."""
    return lambda: model.denoiser.network_evaluations + (engine.network_evaluations if engine is not None else 0)
