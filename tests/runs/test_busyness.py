"""A machine that other programs use is told from a quiet one."""

import time

import pytest

from imgaudit.runs.busyness import Busyness, measure_load, observing


def test_more_programs_than_processors_and_a_small_share_are_signs() -> None:
    assert Busyness(2.0, 2).reasons == Busyness(None, 2).reasons == []
    assert Busyness(2.1, 2).reasons == ["2.1 programs on average wanted its 2 processors"]
    assert len(Busyness(1.5, 1, share=0.5).reasons) == 2


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
