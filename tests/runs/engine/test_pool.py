"""Chunks are pulled by whichever process is ready; a process that dies costs nothing but time."""

from collections import deque
from collections.abc import Sequence

import pytest

from imgaudit.runs.engine.agenda import TRIES, Agenda, Piece
from imgaudit.runs.engine.pool import ChunkEnd, ChunkFailure, Step, count_sharing, describe_processes, measure_in_pool
from imgaudit.schema.records import SkippedImage
from tests.runs.engine.test_agenda import make_targets


class FakePool:
    """Processes on paper: `deadly` chunks end whoever has them, as often as is said."""

    def __init__(self, size: int, deadly: dict[int, int]) -> None:
        self.size, self.deadly = size, dict(deadly)
        self.given: deque[Piece] = deque()
        self.order: list[int] = []
        self.most = 0

    @property
    def is_idle(self) -> bool:
        return len(self.given) < self.size

    def give(self, piece: Piece) -> None:
        assert self.is_idle
        self.given.append(piece)
        self.order.append(piece.number)
        self.most = max(self.most, len(self.given))

    def wait(self, seconds: float | None) -> SkippedImage | ChunkEnd | ChunkFailure | Step | None:
        # The last one that began is done first: work is uneven.
        piece = self.given[-1]
        if self.deadly.get(piece.number, 0) > 0:
            self.deadly[piece.number] -= 1
            self.given.pop()
            return ChunkFailure(piece.number, "it was ended by signal 9")
        self.given.pop()
        return ChunkEnd(piece.number)


def run(pool: FakePool, agenda: Agenda) -> tuple[list[object], list[str]]:
    steps: list[str] = []

    def on_step(step: str, paths: Sequence[str]) -> None:
        steps.append(step)

    return list(measure_in_pool(pool, agenda, on_step)), steps


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgaudit.runs.engine.agenda.BACK_OFF", 0.001)


def test_every_chunk_is_done_once_by_as_many_processes_as_there_are() -> None:
    pool = FakePool(3, {})
    results, _ = run(pool, Agenda([make_targets(f"{number}.png") for number in range(7)]))
    assert sorted(one.number for one in results if isinstance(one, ChunkEnd)) == list(range(7))
    assert pool.most == 3


def test_a_chunk_whose_process_dies_is_begun_again_and_said() -> None:
    results, steps = run(FakePool(2, {1: TRIES - 1}), Agenda([make_targets(f"{number}.png") for number in range(4)]))
    assert sorted(one.number for one in results if isinstance(one, ChunkEnd)) == list(range(4))
    assert len(steps) == TRIES - 1 and "signal 9" in steps[0]


def test_a_chunk_that_always_fails_is_skipped_and_the_others_are_done() -> None:
    results, _ = run(FakePool(2, {0: 100}), Agenda([make_targets("bad.png", "beside.png"), make_targets("good.png")]))
    skipped = [one.path for one in results if isinstance(one, SkippedImage)]
    assert skipped == ["bad.png", "beside.png"]
    assert sorted(one.number for one in results if isinstance(one, ChunkEnd)) == [0, 1]


def test_chunks_in_hand_are_finished_after_a_stop_and_no_other_is_begun() -> None:
    pool, agenda = FakePool(2, {}), Agenda([make_targets(f"{number}.png") for number in range(6)])
    results = []
    for result in measure_in_pool(pool, agenda, lambda step, paths: None):
        results.append(result)
        agenda.stop()
    assert len(results) == 2 == len(pool.order)


def test_a_manifest_names_threads_and_devices_of_the_processes() -> None:
    class Two:
        threads, devices = 4, ("cuda:0", "cuda:1", "cuda:0")

    assert describe_processes(None) == {} and count_sharing(None) == 1
    assert count_sharing(Two()) == 2  # type: ignore[arg-type]
    assert describe_processes(Two()) == {"threads": 4, "device": "cuda:0, cuda:1"}  # type: ignore[arg-type]
