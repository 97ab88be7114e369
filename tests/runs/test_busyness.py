"""A machine that other programs use is told from a quiet one."""

import time

import pytest

from imgaudit.runs import busyness
from imgaudit.runs.busyness import Busyness, measure_load, observing


def test_more_programs_than_processors_and_a_small_share_are_signs() -> None:
    assert Busyness(2.0, 2).reasons == Busyness(None, 2).reasons == []
    assert Busyness(2.1, 2).reasons == ["2.1 programs on average wanted its 2 processors"]
    assert len(Busyness(1.5, 1, share=0.5).reasons) == 2
    assert Busyness(0.0, 2, others=0.2).reasons == []
    assert Busyness(0.0, 2, others=0.9).reasons == ["others took 0.9 of its 2 processors meanwhile"]


def test_the_share_is_that_of_the_time_in_the_block() -> None:
    with observing(on_processor=True) as waited:
        time.sleep(0.2)
    assert waited.share < 0.5
    with observing(on_processor=False) as elsewhere:
        time.sleep(0.01)
    assert elsewhere.share == 1.0


def test_a_system_that_tells_no_load_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.getloadavg")
    assert measure_load() is None


def test_what_others_take_is_counted_and_what_this_program_takes_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program can begin after the load was read, and leave one of two processors to this one."""
    used = iter([100.0, 100.0 + 0.5])
    monkeypatch.setattr(busyness, "_measure_used", lambda: next(used))
    with observing(on_processor=True) as seen:
        time.sleep(0.25)
    assert 0.5 < seen.others <= 2.0
    used = iter([100.0, 100.0])
    with observing(on_processor=True) as alone:
        sum(range(10**6))
    assert alone.others == 0


def test_the_machines_own_count_grows_with_work() -> None:
    before, began = busyness._measure_used(), time.process_time()
    while time.process_time() - began < 0.3:
        pass
    # The system counts in hundredths of a second.
    assert busyness._measure_used() - before > 0.25
