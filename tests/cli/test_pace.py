"""What is left is told from the first finished piece on, however long a piece takes."""

import threading

import pytest

from imgaudit.cli import pace as pacing
from imgaudit.cli.pace import Activity, Pace, repeating
from imgaudit.cli.terminal import stage_progress, waiting
from tests.support.wrapping import unwrap


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
    assert pace.seconds_left == 0 and pace.describe().endswith(", longer than estimated"), "and not 1 s left"
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


def test_the_step_within_a_chunk_is_told() -> None:
    activity = Activity()
    assert activity.describe() == ""
    activity.begin("checking the model", [])
    assert activity.describe() == "checking the model, 0 network evaluations so far"
    activity.count_evaluations = lambda: 8120
    activity.begin("generating images", ["/mine/a.png", "/mine/b.png"])
    assert activity.describe() == "generating images, of a.png and 1 more, 8,120 network evaluations so far"


def test_lines_name_the_step_before_a_stage_and_within_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgaudit.cli.terminal.repeating", lambda work: repeating(work, seconds=0.001))
    monkeypatch.setattr(pacing, "SECONDS_BETWEEN_LINES", 0.001)
    said, activity = "", Activity()

    def wait_for(part: str) -> None:
        nonlocal said
        for _ in range(20_000):
            said += capsys.readouterr().err
            if part in unwrap(said):
                return
            threading.Event().wait(0.001)
        pytest.fail(said)

    with stage_progress(activity=activity) as advance:
        activity.begin("checking the model", [])
        wait_for("Z preparing: checking the model, 0 network evaluations so far")
        advance("auditing", 0, 8)
        activity.begin("searching for an embedding", ["a.png"])
        wait_for("no estimate yet; searching for an embedding, of a.png, 0 network")
    with waiting("loading model x"):
        wait_for("Z still loading model x, 1 s so far")
