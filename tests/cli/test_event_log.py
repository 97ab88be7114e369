"""The log of events: appended as documented, never where something is audited, never through links."""

import json
from pathlib import Path

import pytest

from imgaudit.cli.event_log import open_log
from imgaudit.exceptions import InputError


def test_events_are_appended_with_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "end"}\n')
    with open_log(path, [tmp_path / "targets"]) as log:
        log.write("begin", command="imgaudit audit x")
        log.note_stage("auditing", 1, 8)
        log.note_image("a\nb.png", 2.5)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["end", "begin", "stage", "image"]
    assert lines[3] | {"time": ""} == {
        "time": "",
        "event": "image",
        "image": "a\nb.png",
        "stage": "auditing",
        "seconds": 2.5,
    }


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    with open_log(None, [tmp_path]) as log:
        log.write("begin")
    assert not list(tmp_path.iterdir())


def test_places_that_are_audited_and_links_are_refused(tmp_path: Path) -> None:
    targets = tmp_path / "targets"
    targets.mkdir()
    (tmp_path / "precious.txt").write_text("kept")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "precious.txt")
    (tmp_path / "into").symlink_to(targets)
    for path in (targets / "log.jsonl", tmp_path / "into" / "log.jsonl", tmp_path / "link.jsonl", tmp_path):
        with pytest.raises(InputError, match="--log-file"), open_log(path, [targets]):
            pass
    assert (tmp_path / "precious.txt").read_text() == "kept" and not list(targets.iterdir())
