"""Run the command line in processes of its own that start at once: a server that has imported everything forks them."""

import contextlib
import ctypes
import gc
import io
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

Setup = Callable[[], None]
"""What a child does to itself before the command runs; a function of a module, so that it can be sent there."""

PRELOADED = (
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "diffusers.schedulers.scheduling_ddim",
    "transformers.models.clip.modeling_clip",
    "imgaudit.runs.audit",
    "imgaudit.runs.measurement",
    "imgaudit.runs.conclusion",
    "imgaudit.models.families.unet",
    "imgaudit.models.pipeline",
    "imgaudit.mitigation.registry",
    "imgaudit.report",
    "imgaudit.report.verification",
    "imgaudit.runs.cost",
    "imgaudit.api",
    "imgaudit.cli",
    "diffusers.schedulers",
    "pillow_heif",
    "skimage.metrics._structural_similarity",
    "platformdirs.unix",
    "rich._emoji_codes",
    "diffusers.schedulers.scheduling_ddpm",
    "diffusers.schedulers.scheduling_deis_multistep",
    "diffusers.schedulers.scheduling_dpmsolver_singlestep",
    "diffusers.schedulers.scheduling_edm_euler",
    "diffusers.schedulers.scheduling_k_dpm_2_ancestral_discrete",
    "diffusers.schedulers.scheduling_k_dpm_2_discrete",
    "diffusers.schedulers.scheduling_unipc_multistep",
    "imgaudit.benchmark.robustness.warm_start",
)
"""Modules that the server imports once. Nothing is computed there: threads do not survive a fork."""

UNKNOWN = -1000
"""Exit code of a child that has not ended."""

LOST = 255
"""What multiprocessing says of a child whose exit code its server has lost. No command of ours ends with it."""


@dataclass(frozen=True)
class Ended:
    """What a finished command left."""

    code: int
    """Exit code, negative for the signal that ended it."""
    stdout: str
    stderr: str
    seconds: float
    """Wall time."""

    @property
    def traceback(self) -> bool:
        """True when a user would have seen a traceback."""
        return "Traceback (most recent call last)" in self.stderr or "Traceback (most" in self.stdout


class Child:
    """One running command; its output goes to files, so that a kill cannot lose it."""

    def __init__(self, arguments: Sequence[object], folder: Path, setup: Setup | None = None) -> None:
        """folder: for output and the user's cache; setup: what the child does to itself first"""
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        # Locks that killed children leave are cleaned up at the end; nobody has to be warned of them.
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self._started = time.monotonic()
        self.process: ForkServerProcess = context.Process(
            target=_run, args=([str(part) for part in arguments], self._out, self._err, folder / "cache", setup)
        )
        self.process.start()

    def kill(self) -> bool:
        """SIGKILL it; False when it had ended already."""
        alive = self.process.is_alive()
        self.process.kill()
        self.process.join()
        return alive and self.process.exitcode == -signal.SIGKILL

    def send(self, number: int) -> None:
        """Send a signal."""
        if self.process.pid is not None and self.process.is_alive():
            # It may end between the question and the signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def wait(self, timeout: float = 600) -> Ended:
        """Its end. A child that does not come to one is killed, and its code says so."""
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            self.kill()
            code = UNKNOWN
        out, err = (path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
                    for path in (self._out, self._err))  # fmt: skip
        return Ended(code, out, err, time.monotonic() - self._started)


def _run(arguments: list[str], out: Path, err: Path, cache: Path, setup: Setup | None) -> None:
    # What the server imported is never freed: looking through it for cycles would only copy its pages.
    gc.freeze()
    for number, path in ((1, out), (2, err)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", line_buffering=True)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    os.environ["HF_HUB_OFFLINE"] = "1"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if setup is not None:
        setup()
    sys.argv = ["imgaudit", *arguments]
    runpy.run_module("imgaudit", run_name="__main__", alter_sys=True)


def run_command(arguments: Sequence[object], folder: Path, setup: Setup | None = None, timeout: float = 600) -> Ended:
    """Run a command to its end; once more where its exit code is lost, which says nothing of the command."""
    ended = Child(arguments, folder, setup).wait(timeout)
    return Child(arguments, folder, setup).wait(timeout) if ended.code == LOST else ended


def wait_until(condition: Callable[[], bool], child: Child, timeout: float = 300) -> bool:
    """Look every few milliseconds; False when the child ended or the time is up before the condition holds."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if condition():
            return True
        if not child.process.is_alive():
            return condition()
        time.sleep(0.003)
    return False


def find_descendants(pid: int, mark: str) -> list[int]:
    """Return the numbers of the processes below a process whose command line holds `mark`.

    A process that has ended is left out, also one that its parent has not waited for yet: it has no command line.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(pid).children(recursive=True)
        return [one.pid for one in below if mark in _read_command_line(one)]
    return []


def _read_command_line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@contextlib.contextmanager
def paused(child: Child) -> Iterator[None]:
    """Hold a child where it is for the duration."""
    child.send(signal.SIGSTOP)
    try:
        yield
    finally:
        child.send(signal.SIGCONT)


def without_file_privileges() -> None:
    """Setup: a superuser reads and writes whatever permissions say, unless the capabilities for it are dropped."""
    if os.geteuid() != 0:
        return
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    data = (ctypes.c_uint32 * 6)()
    if library.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    for place in (0, 1):  # effective and permitted, lower half: CAP_DAC_OVERRIDE is 1, CAP_DAC_READ_SEARCH is 2
        data[place] &= ~0b110
    if library.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")
