"""The steps that every benchmark takes: measure or read a table, write it, compute a report of it, print that."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import Settings

S = TypeVar("S", bound=Settings)
T = TypeVar("T")
R = TypeVar("R")
Own = TypeVar("Own", bound=Table)

OnStage = Callable[[str, int, int], None]
"""Told what is being done, how much of it is finished, and how much there is."""


def ignore_stage(stage: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Procedure(Generic[S, T, R]):
    """One benchmark, from its settings to the lines that it prints."""

    measure: Callable[[S, OnStage], T]
    """Measures the table; long work, which continues in the folder that the settings name."""
    read: Callable[[Path], T]
    """Reads a table that `write` wrote. Raises InputError for another file."""
    write: Callable[[T, Path], None]
    """Writes a table."""
    report: Callable[[T, S], R]
    """Computes all statistics of a table; needs no model."""
    lines: Callable[[R, S], Iterator[str]]
    """Formats a report as plain text of at most 120 columns."""


def record_procedure(
    kind: type[Own],
    measure: Callable[[S, OnStage], Own],
    report: Callable[[Own], R],
    lines: Callable[[R], Iterator[str]],
) -> Procedure[S, Own, R]:
    """Make the procedure of a benchmark whose table is one record, and whose report needs no settings."""
    return Procedure(
        measure, kind.read, lambda table, path: table.write(path), lambda table, _: report(table),
        lambda found, _: lines(found),
    )  # fmt: skip


def report_procedure(
    kind: type[Own], measure: Callable[[S, OnStage], Own], lines: Callable[[Own], Iterator[str]]
) -> Procedure[S, Own, Own]:
    """Make the procedure of a benchmark whose table is its report."""
    return record_procedure(kind, measure, lambda table: table, lines)
