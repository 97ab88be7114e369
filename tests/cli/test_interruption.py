"""A command that is stopped says how long it ran, how far it came and about how long the rest takes."""

import pytest

from imgaudit.cli import interruption
from imgaudit.cli.interruption import Interruption, Stopped, say_interrupted


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


def test_a_stop_at_once_tells_how_long_the_command_ran(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption.time, "monotonic", lambda: interruption._began + 3700)
    say_interrupted()
    assert "interrupted after 1 h 1 min; what was finished is kept" in " ".join(capsys.readouterr().err.split())
