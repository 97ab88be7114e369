"""Sets of controls that are joined."""

import random

from imgaudit.decision.control_works import merge_sources
from imgaudit.decision.controls import ControlSource


def source(note: str, seed: int, made: str, measured: list[str], same: list[str]) -> ControlSource:
    return ControlSource(note=note, made=made, seed=seed, sha256s=measured, same_works=same)


def test_sources_of_one_origin_become_one_whatever_their_order() -> None:
    first = source("ours", 1, "2026-02-01", ["b", "c"], ["d"])
    second = source("ours", 1, "2026-01-01", ["a", "d"], ["e"])
    other = source("ours", 2, "2026-03-01", ["b"], [])
    merged = merge_sources([first, second, other])
    assert merged == [source("ours", 1, "2026-01-01", ["a", "b", "c", "d"], ["e"]), other]
    for number in range(5):
        shuffled = random.Random(number).sample([first, second, other], 3)
        assert merge_sources(shuffled) == merged
