"""Sets that were never trained on and are unlike their controls to begin with: works of one series, or other controls.

A set adds up small differences, whatever their cause. The blind baseline is what stands between such a set and a
p-value, so both are counted: how often a set would be told without it, and how often it still is.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from imgaudit.benchmark.harness.figures import MeasuredRate, format_rates, measure_rate
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreTable
from imgaudit.benchmark.searches.table import SearchTable
from imgaudit.benchmark.verdicts.images import Floats
from imgaudit.benchmark.verdicts.never_trained import pool_of, series_of
from imgaudit.benchmark.verdicts.set_draws import Draw, LabScores, count_p_values, draw_innocent, draw_series
from imgaudit.decision.alarms import compare_blindly
from imgaudit.exceptions import InputError
from imgaudit.schema.records import Record
from imgaudit.statistics import fit_line

SIZES = (10, 40)
"""Works of a set."""

SETS = 50
"""Sets of every row."""

LEVEL = 0.05
"""Level at which a set counts as told."""

Features = Sequence[Mapping[str, float]]


class UnlikeRow(Record):
    """Sets of one kind and size that were never trained on."""

    lab: str
    """Lab model."""
    kind: str
    """What tells works from controls without the model."""
    works: int
    """Works of a set."""
    captions: bool
    """True where scores under captions were compared too."""
    told: MeasuredRate
    """Sets with p at or below the level, had nobody looked without the model."""
    alarmed: MeasuredRate
    """Sets that the blind baseline tells from their controls: their p-value is taken away."""
    left: MeasuredRate
    """Sets with p at or below the level that raise no alarm: false findings."""


def measure_unlike(
    tables: Sequence[SearchTable], detection: ScoreTable, other: ControlTable | None, seed: int
) -> list[UnlikeRow]:
    """Count sets of the lab that a table of detection belongs to.

    other:  controls of another source, under the same model and protocol

    Raises InputError when no table is of that lab, or the other controls are not of its model and protocol.
    """
    own = [one for one in tables if (one.lab, one.model_fingerprint) == (detection.lab, detection.model_fingerprint)]
    if not own:
        labs = ", ".join(one.lab for one in tables)
        raise InputError(
            f"the table of detection is of lab {detection.lab!r}, and the tables of searches are of {labs}"
        )
    if other and (other.model_fingerprint, other.protocol.hash) != (
        detection.model_fingerprint, detection.protocol.hash,
    ):  # fmt: skip
        raise InputError("the other controls met another model or protocol than the table of detection")
    lab, draw = LabScores.of(own[0]), np.random.default_rng([seed, 1])
    known = {row.sha256[:16]: row for row in pool_of(detection)}
    if missing := set(lab.sha256s) - known.keys():
        raise InputError(f"{len(missing)} of {len(lab.sha256s)} held-out images are not in the table of detection")
    rows = [known[name] for name in lab.sha256s]
    features, families = [row.features for row in rows], [series_of(row.text) for row in rows]
    found = []
    for size in SIZES:
        for kind, draws in (
            ("like the controls", partial(draw_innocent, len(rows), size, draw)),
            ("works of few series", partial(draw_series, families, size, draw)),
        ):
            sets = [draws() for _ in range(SETS)]
            p_values = count_p_values(lab.held_out, lab.held_out, sets, int(draw.integers(2**32)))[True]
            found.append(_count(lab.lab, kind, sets, p_values, (features, features)))
        if other is not None:
            found.append(_compare_with_others(detection, other, size, draw))
    return sorted(found, key=lambda row: row.kind)


def _compare_with_others(detection: ScoreTable, other: ControlTable, size: int, draw: np.random.Generator) -> UnlikeRow:
    """Count sets of held-out images whose controls come from another source, by the score alone."""
    kept = [one for one in other.controls if one.kept_out]
    line = fit_line([one.complexity for one in kept], [one.log_ratio for one in kept])
    works, controls = pool_of(detection), [one for one in other.controls if not one.kept_out]
    values, bank = (
        np.array([[line.residual(one.log_ratio, one.complexity)] for one in some]) for some in (works, controls)
    )
    all_controls = np.arange(len(controls))
    sets = [Draw(draw.permutation(len(works))[:size], all_controls) for _ in range(SETS)]
    p_values = count_p_values(values, bank, sets, int(draw.integers(2**32)))[False]
    features = ([one.features for one in works], [one.features for one in controls])
    return _count(detection.lab, f"controls: {other.note}", sets, p_values, features, captions=False)


def _count(
    lab: str, kind: str, sets: Sequence[Draw], p_values: Floats, features: tuple[Features, Features],
    *, captions: bool = True,
) -> UnlikeRow:  # fmt: skip
    told = (p_values <= LEVEL).tolist()
    alarmed = [_alarms(one, *features) for one in sets]
    left = [is_told and not alarm for is_told, alarm in zip(told, alarmed, strict=True)]
    rates = [
        measure_rate(name, kind, flags)
        for name, flags in (("told", told), ("told without the model", alarmed), ("told, no alarm", left))
    ]
    return UnlikeRow(
        lab=lab, kind=kind, works=len(sets[0].works), captions=captions, told=rates[0], alarmed=rates[1], left=rates[2]
    )


def _alarms(one: Draw, works: Features, controls: Features) -> bool:
    found = compare_blindly([works[place] for place in one.works], [controls[place] for place in one.controls])
    return found is not None and found.alarms()


def format_unlike(rows: Sequence[UnlikeRow]) -> Iterator[str]:
    """Format sets that were never trained on and how often the blind baseline stops them."""
    rates = [
        rate.model_copy(update={"group": f"{row.lab}, {row.kind}, {row.works} works"})
        for row in rows
        for rate in (row.told, row.alarmed, row.left)
    ]
    yield "sets that were never trained on, unlike their controls or not"
    yield from format_rates("", rates)
