"""The log of events: appended as documented, never where something is audited, never through links."""

import json
from pathlib import Path

import pytest

from imgaudit.cli.event_log import open_log
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.pace import Activity
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


def test_steps_are_logged_with_their_images_and_the_evaluations(tmp_path: Path) -> None:
    activity = Activity()
    with open_log(tmp_path / "log.jsonl", []) as log:
        log.note_step(activity)
        activity.count_evaluations = lambda: 5
        activity.begin("generating images", ["a.png"])
        log.note_step(activity)
    [line] = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (line["event"], line["step"], line["images"], line["evaluations"]) == (
        "step", "generating images", ["a.png"], 5,
    )  # fmt: skip


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
    bank, model = tmp_path / "bank.json", tmp_path / "model"
    bank.write_text('{"event": "a bank that looks like a log"}')
    model.mkdir()
    refused = [tmp_path / "link.jsonl", tmp_path, bank, model / "log.jsonl", tmp_path / "precious.txt"]
    for path in (targets / "log.jsonl", tmp_path / "into" / "log.jsonl", *refused):
        with pytest.raises(InputError, match="--log-file"), open_log(path, [targets, bank, model]):
            pass
    assert (tmp_path / "precious.txt").read_text() == "kept" and not list(targets.iterdir())
    assert "looks like" in bank.read_text() and not list(model.iterdir())


def test_the_files_of_a_model_are_places_that_are_used(tmp_path: Path) -> None:
    for name in ("model", "lora.safetensors", "config"):
        (tmp_path / name).mkdir()
    given = {name: str(tmp_path / name) for name in ("model", "config")}
    choice = ModelChoice(given["model"], [str(tmp_path / "lora.safetensors:0.5"), "absent:2"], config=given["config"])
    assert {path.name for path in choice.paths} == {"model", "lora.safetensors", "config"}
