import multiprocessing
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.folder import RunFolder
from tests.support.records import measurement


def hold(path: str, ready: object, done: object) -> None:
    with RunFolder(Path(path)).lock():
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_a_line_cut_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.append_record({"stage": "skipped", "path": "a", "skipped": "x"})
    whole = run.records_path.read_bytes()
    run.append_record({"stage": "skipped", "path": "b", "skipped": "x"})
    for cut in range(len(whole), run.records_path.stat().st_size):
        run.records_path.write_bytes(run.records_path.read_bytes()[:cut] if cut else b"")
        run.append_record({"stage": "skipped", "path": "c", "skipped": "x"})
        names = [record.path for record in run.read_measurements()[1]]
        assert names[0] == "a" and names[-1] == "c"
        assert set(names) == set(run.recorded().skipped)
        run.records_path.write_bytes(whole)
        run.append_record({"stage": "skipped", "path": "b", "skipped": "x"})


def test_records_that_are_not_valid_are_measured_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.append_record({"stage": "measured", "id": "x"})
    run.append_record({"stage": "skipped", "path": "b", "skipped": "why"})
    run.append_record({"stage": "unknown"})
    measurements, skipped = run.read_measurements()
    assert measurements == [] and [record.path for record in skipped] == ["b"]


def test_two_processes_cannot_hold_one_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(RunFolderError, match=f"being written by process {process.pid}"), RunFolder(tmp_path).lock():
            pass
    finally:
        done.set()
        process.join(30)
    with RunFolder(tmp_path).lock():
        pass


def test_a_lock_whose_owner_was_killed_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), ready, done))
    process.start()
    assert ready.wait(60)
    process.kill()
    process.join(30)
    with RunFolder(tmp_path).lock():
        pass


def test_what_was_not_measured_cannot_be_written_as_a_number(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_json(tmp_path / "a.json")


def test_measurements_read_one_at_a_time_are_those_that_are_read_at_once(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    images = [measurement(name, 0.5, [(0.4, 0.4)] * 2) for name in "dcba"]
    again = images[0].model_copy(update={"seconds": 9.0})
    for one in (*images, again):
        run.append_record({"stage": "measured", **one.model_dump(mode="json")})
    with run.records_path.open("ab") as file:
        file.write(b'{"stage": "measured", "id": "cut')
    run.append_record({"stage": "skipped", "path": "b", "skipped": "x"})
    whole, skipped = run.read_measurements()
    stored, others = run.open_measurements()
    assert list(stored) == whole and others == skipped and len(stored) == 4 and again in list(stored)
    assert stored[-1] == whole[-1] and stored[1:3] == whole[1:3]
    assert list(stored.without({whole[0].id})) == whole[1:]
    run.records_path.write_bytes(run.records_path.read_bytes()[10:])
    with pytest.raises(RunFolderError, match="was changed while it was read"):
        list(stored)
