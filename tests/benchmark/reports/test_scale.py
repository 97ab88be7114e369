"""The benchmark of reports: a made-up run is a run, and what is printed is what was measured."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.reports.run import make_run
from imgaudit.benchmark.reports.scale import ReportScale, disk_use
from imgaudit.cli import app
from imgaudit.io.thumbnails import write_thumbnail, write_thumbnails
from imgaudit.runs.folder import RecordIndex, RunFolder
from imgaudit.runs.manifest import read_manifest


def test_a_made_up_run_has_a_manifest_records_and_every_picture(tmp_path: Path) -> None:
    result = make_run(tmp_path / "run", 60, side=16)
    run = RunFolder(tmp_path / "run")
    assert read_manifest(run).files_given == 60 == result.summary.targets == sum(result.summary.counts.values())
    measurements, skipped = run.read_measurements()
    assert (len(measurements), len(skipped)) == (59, 1)
    for measurement in measurements:
        assert (run.image_folder(measurement.id) / "target.png").is_file()
        assert all((run.path / one.path).is_file() for one in measurement.rungs["embedding"].replicas)  # type: ignore[index,union-attr]
    assert RecordIndex(run)[measurements[3].id] == measurements[3]


def test_the_same_seed_makes_the_same_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, 4, side=16, seed=5)
    first, second = (tmp_path / name / "records.jsonl" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(ValueError, match="at least one image, but got 0"):
        make_run(tmp_path / "c", 0)


def test_a_thumbnail_is_made_once_and_goes_with_its_picture(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 1, side=200)
    [source] = (tmp_path / "run" / "images").glob("*/target.png")
    thumbnail = tmp_path / "thumbs" / "a.jpg"
    assert write_thumbnail(source, thumbnail) and thumbnail.stat().st_mtime_ns == source.stat().st_mtime_ns
    thumbnail.write_bytes(b"not made again")
    stamp = source.stat().st_mtime_ns

    os.utime(thumbnail, ns=(stamp, stamp))
    assert write_thumbnail(source, thumbnail) and thumbnail.read_bytes() == b"not made again"
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(source.read_bytes()[:200])
    for gone in (damaged, tmp_path / "none.png", None):
        assert not write_thumbnail(gone, thumbnail)
        assert not thumbnail.exists()
    with write_thumbnails([(source, thumbnail), (None, tmp_path / "none.jpg")]) as made:
        assert list(made) == [True, False]


def test_processes_write_what_one_writes(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 110, side=16)
    sources = sorted((tmp_path / "run" / "images").glob("*/target.png")) * 2
    written = {}
    for processes in (1, 2):
        pairs = [(source, tmp_path / str(processes) / f"{place}.jpg") for place, source in enumerate(sources)]
        with write_thumbnails(pairs, processes) as made:
            assert all(made)
        written[processes] = [path.read_bytes() for _, path in pairs]
    assert written[1] == written[2]


def test_the_benchmark_prints_what_it_measured(tmp_path: Path) -> None:
    table = tmp_path / "report.json"
    command = ["benchmark", "report", "--sizes", "2", "--side", "16", "--repeats", "1", "--out", str(tmp_path / "work")]
    measured = CliRunner().invoke(app, [*command, "--save", str(table), "--quiet"])
    assert measured.exit_code == 0, measured.output
    report = ReportScale.model_validate_json(table.read_bytes())
    [one] = report.results
    kinds = one.disk
    assert one.images == 2 and 0 < kinds.index < kinds.total and kinds.thumbnails and kinds.charts and kinds.data
    assert one.first.peak > 0 and one.first.seconds > 0
    printed = CliRunner().invoke(app, ["benchmark", "report", "--table", str(table)])
    assert printed.stdout == measured.stdout
    for part in ("rendering: first", "on disk, KiB", "the index in a browser"):
        assert part in printed.stdout
    as_json = CliRunner().invoke(app, ["benchmark", "report", "--table", str(table), "--json"])
    assert json.loads(as_json.stdout) == json.loads(table.read_text())
    assert not (tmp_path / "work" / "report-2").exists()


@pytest.mark.parametrize("sizes", ["ten", "0", "1,,2"])
def test_sizes_that_are_none_are_refused(sizes: str, tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["benchmark", "report", "--sizes", sizes, "--out", str(tmp_path)])
    assert refused.exit_code != 0


def test_a_report_is_weighed_by_kind(tmp_path: Path) -> None:
    files = {
        "index.html": 5, "list-0001.html": 7, "0123456789abcdef.html": 11, "data/labels.js": 13,
        "thumbs/a.jpg": 17, "charts/a.svg": 19, "assets/style.css": 23,
    }  # fmt: skip
    for name, size in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    assert disk_use(tmp_path).model_dump() == {
        "index": 5, "lists": 7, "pages": 11, "data": 13, "thumbnails": 17, "charts": 19, "total": 95,
    }  # fmt: skip
