"""Differences between pictures generated twice: summed up, and judged by the tolerance of a replay."""

from pathlib import Path

from imgaudit.benchmark.replays.measuring import ANOTHER_SEED, PRECISION, PictureDifference, ReplayTable
from imgaudit.benchmark.replays.report import format_replays, report_replays
from imgaudit.runs.replay.tolerance import OTHER_PRECISION, SAME_PRECISION, find_tolerance

TABLE = Path(__file__).parents[3] / "examples" / "replay.json"


def row(change: str, largest: float, mean: float) -> PictureDifference:
    return PictureDifference(lab="demo", change=change, largest=largest, mean=mean, similarity=0.0, distance=0.0)


def test_the_largest_difference_counts_and_of_another_seed_the_smallest() -> None:
    rows = [
        row("batch 1", 1, 0.01),
        row("batch 1", 200, 20.0),
        row(ANOTHER_SEED, 90, 9.0),
        row(ANOTHER_SEED, 200, 50.0),
    ]
    table = ReplayTable(seed=1, hardware="here", torch="2", captions=1, pictures=2, differences=rows)
    batch, seed = report_replays(table).changes
    assert (batch.n, batch.largest, batch.mean, batch.beyond) == (2, 200, 20.0, 1)
    assert (seed.n, seed.largest, seed.mean, seed.beyond) == (2, 90, 9.0, 2)
    assert all(len(line) <= 80 for line in format_replays(report_replays(table)))


def test_the_tolerance_tells_every_honest_picture_from_every_forged_one_in_the_committed_table() -> None:
    for one in report_replays(ReplayTable.read(TABLE)).changes:
        if one.change == ANOTHER_SEED:
            assert one.beyond == one.n, f"{one.lab}: a picture of another seed passes"
        else:
            refused = one.beyond_wider if one.change == PRECISION else one.beyond
            assert refused == 0, f"{one.lab}, {one.change}: an honest picture is refused"


def test_precisions_that_differ_or_are_unknown_get_the_wider_tolerance() -> None:
    assert find_tolerance("float32", "float32") is SAME_PRECISION
    assert find_tolerance("bfloat16", "float32") is find_tolerance("", "") is OTHER_PRECISION
