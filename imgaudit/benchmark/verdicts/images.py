"""The images of a score table as arrays: what is known of each before any bank or folder is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from imgaudit.benchmark.harness.score_table import ControlRow, ScoreRow, Seeds
from imgaudit.decision.copy_thresholds import ABSOLUTE_STANDARD
from imgaudit.schema.records import Rung

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

RUNGS = (Rung.CAPTION, Rung.EMBEDDING)
"""Rungs of detection tables, in the order of the arrays' second axis. Each was asked with one text at most."""

TEXT, INVERTED = 0, 1

NO_SEEDS = Seeds(similarities=[], distances=[])


@dataclass(frozen=True)
class Images:
    """Measured images, one per row of every array."""

    log_ratios: Floats
    """(images,): mean log(null error / conditional error)."""
    caption_log_ratios: Floats
    """(images,): the same under the caption; nan where it was not measured."""
    looks: Floats
    """(images,): first look, a log ratio too; nan where none was taken."""
    caption_looks: Floats
    """(images,): the same under the caption; nan where none was taken."""
    complexities: Floats
    """(images,): log(PNG bytes per pixel)."""
    similarities: Floats
    """(images, rungs, seeds): nan beyond the seeds that could be scored."""
    distances: Floats
    """(images, rungs, seeds): likewise."""
    coincidence: Floats
    """(images,): p-value of coincidence for the caption; 1 without one, 0 for controls, whose floor is not known."""
    taken: Flags
    """(images,): True where an alarm took the p-value away when the image was measured."""
    nearest: Floats
    """(images,): correlation with the nearest image that was trained on; nan where the table does not say."""

    def __len__(self) -> int:
        return len(self.log_ratios)

    def at(self, places: Places) -> "Images":
        """Return the images at some places."""
        found = Images(*(getattr(self, field.name)[places] for field in fields(self)))
        # What was computed of all images is that of some: banks are drawn from the same ones thousands of times.
        vars(found).update({name: getattr(self, name)[places] for name in _DERIVED})
        return found

    @classmethod
    def of(cls, rows: Sequence[ScoreRow | ControlRow]) -> "Images":
        """Make arrays of rows of a table."""
        seeds = [[_seeds(row, rung) for rung in RUNGS] for row in rows]
        width = max((len(one.similarities) for pair in seeds for one in pair), default=0)
        return cls(
            log_ratios=np.array([row.log_ratio for row in rows], dtype=float),
            caption_log_ratios=np.array(
                [np.nan if row.caption_log_ratio is None else row.caption_log_ratio for row in rows], dtype=float
            ),
            looks=np.full(len(rows), np.nan),
            caption_looks=np.full(len(rows), np.nan),
            complexities=np.array([row.complexity for row in rows], dtype=float),
            similarities=_pad([[one.similarities for one in pair] for pair in seeds], width),
            distances=_pad([[one.distances for one in pair] for pair in seeds], width),
            coincidence=np.array([_coincidence(row) for row in rows], dtype=float),
            taken=np.array([_is_measured(row) and row.p_value is None for row in rows], dtype=bool),
            nearest=np.array(
                [np.nan if row.nearest_similarity is None else row.nearest_similarity for row in rows], dtype=float
            ),
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Images"]) -> "Images":
        """Join images of one table."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def count(self, similarity: float, distance: float) -> npt.NDArray[np.int64]:
        """Return how many seeds of every rung pass two thresholds: (images, rungs)."""
        passing = (self.similarities > similarity) & (self.distances < distance)
        return np.asarray(passing.sum(axis=-1), dtype=np.int64)

    @cached_property
    def scored(self) -> npt.NDArray[np.int64]:
        """(images, rungs): seeds that could be scored."""
        return np.asarray(np.isfinite(self.similarities).sum(axis=-1), dtype=np.int64)

    @cached_property
    def near_identical(self) -> npt.NDArray[np.int64]:
        """(images, rungs): seeds that are near-identical by the absolute standard."""
        return self.count(ABSOLUTE_STANDARD.similarity, ABSOLUTE_STANDARD.distance)

    @cached_property
    def mostly_near_identical(self) -> Flags:
        """(images, rungs): True where at least half of the seeds are near-identical."""
        return np.asarray(2 * self.near_identical >= np.maximum(1, self.scored), dtype=bool)

    @cached_property
    def means(self) -> Floats:
        """(images, rungs): mean similarity over the seeds; -inf without any."""
        scored = self.scored
        return np.asarray(
            np.where(scored > 0, np.nansum(self.similarities, axis=-1) / np.maximum(1, scored), -np.inf), dtype=float
        )

    @cached_property
    def best(self) -> Floats:
        """(images, rungs): highest similarity; -inf without any."""
        return np.asarray(np.nan_to_num(self.similarities, nan=-np.inf).max(axis=-1, initial=-np.inf), dtype=float)

    @cached_property
    def closest(self) -> Floats:
        """(images, rungs): lowest distance; inf without any."""
        return np.asarray(np.nan_to_num(self.distances, nan=np.inf).min(axis=-1, initial=np.inf), dtype=float)


_DERIVED = ("scored", "near_identical", "mostly_near_identical", "means", "best", "closest")
"""Properties with one row per image, each computed from the image's own seeds alone."""


def _is_measured(row: ScoreRow | ControlRow) -> TypeGuard[ScoreRow]:
    return isinstance(row, ScoreRow)


def _seeds(row: ScoreRow | ControlRow, rung: Rung) -> Seeds:
    given = row.rungs.get(rung)
    if given is None:
        return NO_SEEDS
    return given if isinstance(given, Seeds) else given.seeds


def _coincidence(row: ScoreRow | ControlRow) -> float:
    if not _is_measured(row):
        return 0.0
    given = row.rungs.get(Rung.CAPTION)
    return 1.0 if given is None or given.p_value is None else given.p_value


def _pad(values: list[list[list[float]]], width: int) -> Floats:
    padded = np.full((len(values), len(RUNGS), width), np.nan)
    for place, pair in enumerate(values):
        for rung, seeds in enumerate(pair):
            padded[place, rung, : len(seeds)] = seeds
    return padded
