"""Tests of the processes in which the command line is attacked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imgaudit.benchmark.robustness import processes
from imgaudit.benchmark.robustness.processes import LOST, Ended, run_command


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
