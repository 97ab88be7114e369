"""A command that is stopped says how long it ran, how far it came and about how long the rest takes."""

import pytest

from imgaudit.cli import interruption
from imgaudit.cli.interruption import Interruption, Stopped, say_interrupted
from imgaudit.cli.pace import Activity


def _stop(wanted: Interruption, stage: str, done: int, capsys: pytest.CaptureFixture[str]) -> str:
    on_progress = wanted.stopping_stages(lambda stage, done, total: None)
    on_progress(stage, 0, 8)
    now[0] = 240.0
    wanted.wanted = True
    with pytest.raises(Stopped):
        on_progress(stage, done, 8)
    say_interrupted()
    return " ".join(capsys.readouterr().err.split())


now = [0.0]


def test_a_stop_tells_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    now[0] = 0.0
    said = _stop(Interruption(clock=lambda: now[0]), "auditing", 2, capsys)
    assert "stopped after 4 min 0 s: auditing, 2 of 8 images are done" in said
    assert "about 12 min 0 s are left of this stage" in said and "continue with: imgaudit" in said


def test_nothing_is_invented_before_anything_is_finished(capsys: pytest.CaptureFixture[str]) -> None:
    now[0] = 0.0
    said = _stop(Interruption("prompts", clock=lambda: now[0]), "detecting", 0, capsys)
    assert "0 of 8 prompts are done, how long the rest takes is not known yet" in said


def test_a_signal_tells_what_is_finished_first_and_how_long_that_takes() -> None:
    now[0] = 0.0
    activity = Activity()
    wanted = Interruption(activity=activity, clock=lambda: now[0])
    assert wanted.describe_stop().startswith("stopping when the images being measured are done; press Ctrl-C again")
    on_progress = wanted.stopping_stages(lambda stage, done, total: None)
    on_progress("auditing", 0, 24)
    activity.begin("encoding", [f"{number}.png" for number in range(8)])
    assert wanted.describe_stop() == (
        "stopping when the 8 images being measured are done, how long that takes is not known yet; press Ctrl-C again "
        "to stop at once, which loses only the work on these 8 images, which are measured together"
    )
    now[0] = 400.0
    on_progress("auditing", 8, 24)
    activity.begin("encoding", [f"{number}.png" for number in range(8, 16)])
    activity.begin("comparing generated images", ["9.png"])
    now[0] = 500.0
    assert "when the 8 images being measured are done, in about 5 min 0 s; press" in wanted.describe_stop()
    activity.begin("encoding", ["16.png"])
    assert (
        "when the image being measured is done" in wanted.describe_stop() and "on this image" in wanted.describe_stop()
    )


def test_a_stop_at_once_tells_how_long_the_command_ran(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption.time, "monotonic", lambda: interruption._began + 3700)
    say_interrupted()
    assert "interrupted after 1 h 1 min; what was finished is kept" in " ".join(capsys.readouterr().err.split())
