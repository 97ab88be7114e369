"""Tests of the processes in which the command line is attacked."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from imgaudit.benchmark.robustness import processes
from imgaudit.benchmark.robustness.processes import LOST, Ended, find_descendants, run_command


@pytest.mark.parametrize(("codes", "expected", "runs"), [([LOST, 2], 2, 2), ([2], 2, 1), ([LOST, LOST], LOST, 2)])
def test_a_command_whose_exit_code_is_lost_is_run_once_more(
    codes: list[int], expected: int, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: Iterator[int] = iter(codes)
    started: list[list[str]] = []

    class Stub:
        def __init__(self, arguments: list[str], folder: Path, setup: None) -> None:
            started.append(arguments)

        def wait(self, timeout: float) -> Ended:
            return Ended(next(left), "", "", 0.1)

    monkeypatch.setattr(processes, "Child", Stub)
    assert run_command(["report", "run"], tmp_path).code == expected
    assert len(started) == runs


def test_processes_are_found_by_their_command_line_and_not_once_they_have_ended() -> None:
    # While the system starts a program, its command line is empty: each says that it has begun.
    asleep = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "a-mark-of-this-test"]
    with (
        subprocess.Popen(asleep, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first,
        subprocess.Popen(asleep, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second,
    ):
        for one in (first, second):
            assert one.stdout is not None and one.stdout.readline() == os.linesep.encode()
        assert sorted(find_descendants(os.getpid(), "a-mark-of-this-test")) == sorted([first.pid, second.pid])
        assert find_descendants(os.getpid(), "another-mark") == []
        first.kill()
        # It is not waited for: the system still lists it, as a process without a command line.
        while psutil.Process(first.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert find_descendants(os.getpid(), "a-mark-of-this-test") == [second.pid]
    assert find_descendants(first.pid, "a-mark-of-this-test") == []
