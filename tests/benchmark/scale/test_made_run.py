"""Made-up runs are the same whoever makes them."""

from pathlib import Path

import pytest

from imgaudit.benchmark.scale import made_run
from imgaudit.benchmark.scale.made_run import RunMaker, make_measured_run


@pytest.mark.slow
def test_several_processes_make_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_run, "BLOCK", 3)
    maker, done = RunMaker(tmp_path / "stock", replicas=2, seed=1), list[int]()
    folders = [tmp_path / "one", tmp_path / "two"]
    for processes, folder in enumerate(folders, start=1):
        make_measured_run(folder, maker, 8, processes=processes, on_image=lambda count, _: done.append(count))
    assert done == [3, 6, 8, 3, 6, 8]
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    # The bank, the manifest and the records, and of every image four files beside its generated ones.
    assert names[0] == names[1] and len(names[0]) == 3 + 8 * (4 + 4)
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names[0])


@pytest.mark.slow
def test_who_stops_it_does_not_wait_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_run, "BLOCK", 1)
    maker = RunMaker(tmp_path / "stock", replicas=1, seed=1)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_measured_run(tmp_path / "run", maker, 2000, processes=2, on_image=stop)
    assert len(list((tmp_path / "run" / "images").iterdir())) < 1000
