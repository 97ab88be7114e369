"""Chunks are handed out in order, begun again after a pause, and given up in the end."""

from dataclasses import dataclass, field
from pathlib import Path

from imgaudit.io.images import ImageFacts
from imgaudit.io.portfolio import Target
from imgaudit.runs.engine.agenda import BACK_OFF, TRIES, Agenda, Piece


@dataclass
class Clock:
    now: float = 100.0
    read: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


def make_targets(*names: str) -> list[Target]:
    facts = ImageFacts.model_construct(sha256="0" * 64)
    return [Target(Path(name), facts, {}) for name in names]


def take(agenda: Agenda) -> Piece:
    piece = agenda.take()
    assert piece is not None
    return piece


def test_chunks_come_in_order_and_the_agenda_is_empty_then() -> None:
    agenda = Agenda([make_targets("a.png", "b.png"), make_targets("c.png")])
    first, second = take(agenda), take(agenda)
    assert (first.number, first.paths, second.number) == (0, ["a.png", "b.png"], 1)
    assert agenda.is_empty and agenda.take() is None and agenda.pause is None


def test_a_chunk_that_fails_waits_twice_as_long_each_time_and_is_then_skipped() -> None:
    clock = Clock()
    agenda = Agenda([make_targets("a.png", "b.png")], clock)
    for number in range(1, TRIES):
        assert agenda.fail(take(agenda), "it ended with exit code 1") == []
        assert agenda.take() is None and not agenda.is_empty
        assert agenda.pause == BACK_OFF * 2 ** (number - 1)
        clock.now += BACK_OFF * 2 ** (number - 1)
    skipped = agenda.fail(take(agenda), "it was ended by signal 9")
    assert [one.path for one in skipped] == ["a.png", "b.png"] and agenda.is_empty
    # Said as a reason, and tried again by a later command.
    assert all(f"{TRIES} times" in one.skipped and "signal 9" in one.skipped and one.passing for one in skipped)


def test_others_are_handed_out_while_one_waits() -> None:
    agenda = Agenda([make_targets("a.png"), make_targets("b.png")], Clock())
    agenda.fail(take(agenda), "it ended")
    assert take(agenda).paths == ["b.png"]


def test_nothing_is_handed_out_or_taken_back_after_a_stop() -> None:
    agenda = Agenda([make_targets("a.png"), make_targets("b.png")])
    piece = take(agenda)
    agenda.stop()
    assert agenda.is_empty and agenda.fail(piece, "it ended") == [] and agenda.take() is None
