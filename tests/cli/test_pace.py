"""What is left is told from the first finished piece on, however long a piece takes."""

import threading

from imgaudit.cli.pace import Pace, repeating


def test_time_left_is_told_when_a_piece_takes_minutes() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.count(2, 10)
    assert pace.seconds_left is None and "no estimate" in pace.describe()
    now[0] = 120.0
    pace.count(4, 10)
    assert pace.seconds_left == 360, "two took 120 seconds; what was there before was not done at this pace"
    now[0] = 180.0
    assert pace.seconds_left == 300, "it counts down while a step runs"
    assert pace.describe() == "4 of 10, 3 min 0 s so far, about 5 min 0 s left"
    now[0] = 9999.0
    assert pace.seconds_left == 0
    pace.count(10, 10)
    assert pace.describe().endswith("finished")


def test_lines_go_on_while_one_step_runs() -> None:
    called = threading.Event()
    with repeating(called.set, seconds=0.001):
        assert called.wait(60)
    called.clear()
    assert not called.is_set() and threading.active_count() >= 1


def test_another_total_begins_anew() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.count(0, 10)
    now[0] = 100.0
    pace.count(10, 10)
    pace.count(0, 3)
    assert pace.seconds_left is None
    now[0] = 110.0
    pace.count(1, 3)
    assert pace.seconds_left == 20
