"""Audits by several processes are killed, and so is one of the processes; the result stays the same."""

from pathlib import Path
from random import Random
from types import SimpleNamespace

import psutil
import pytest

from imgaudit.benchmark.robustness import engine_kills
from imgaudit.benchmark.robustness.bench import Bench
from imgaudit.benchmark.robustness.engine_kills import Divided, kill_engines, kill_processes, list_divided
from imgaudit.benchmark.robustness.interruptions import Undisturbed, audit_undisturbed


@pytest.mark.slow
def test_kills_of_the_command_and_of_one_process_lose_nothing(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [workers, _] = list_divided()
    # Ray takes a minute more; its own tests kill an actor.
    monkeypatch.setattr(engine_kills, "list_divided", lambda: [workers])
    # By these numbers a run is killed once before it is given again, so that fewer processes have to be started.
    bench, told = Bench(str(model_folder), tmp_path, Random(2)), list[tuple[int, int]]()
    kill_engines(bench, audit_undisturbed(bench), 1, lambda done, total: told.append((done, total)))
    tallies = bench.recorder.tallies
    assert all(set(tally.states) == {"identical"} and not tally.problems for tally in tallies), tallies
    assert {tally.section for tally in tallies} == {"interruption, two workers"}
    for ending in ("nothing killed", ": the command", ": one process"):
        assert any(tally.kind.endswith(ending) for tally in tallies)
    assert told[-1] == (2, 2)


def test_what_cannot_be_tried_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lacking = Divided("two of them", (), "mark", "not installed")
    monkeypatch.setattr(engine_kills, "list_divided", lambda: [lacking])
    bench = Bench("demo", tmp_path, Random(1))
    whole = Undisturbed(tmp_path, tmp_path, [], {}, 0, tmp_path)
    kill_engines(bench, whole, 0, lambda done, total: None)
    assert not bench.recorder.not_tried
    kill_engines(bench, whole, 3, lambda done, total: None)
    assert [(one.kind, one.reason) for one in bench.recorder.not_tried] == [("kills of two of them", "not installed")]


@pytest.mark.parametrize("problems", [[], ["a finding differs"]])
def test_kills_that_meet_no_process_come_to_an_end_and_are_no_success(
    problems: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine_kills, "_kill_one_process", lambda *given: ("", problems))
    bench = Bench("demo", tmp_path, Random(1))
    whole = Undisturbed(tmp_path, tmp_path, [], {}, 0, tmp_path)
    kill_processes(bench, whole, Divided("two of them", (), "mark", ""), 2, lambda done, total: None)
    assert [one.kind for one in bench.recorder.not_tried] == ["2 kills of one of two of them"]
    assert [(one.kind, one.states) for one in bench.recorder.tallies] == (
        [("nothing killed", {"different": 10})] if problems else []
    )


def test_a_command_that_has_ended_has_no_processes() -> None:
    way = list_divided()[0]
    gone = SimpleNamespace(process=SimpleNamespace(pid=psutil.pids()[-1] + 100_000_000))
    assert way.find_processes(gone) == []  # type: ignore[arg-type]
