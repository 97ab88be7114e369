"""Edits of records.jsonl: numbers that the pictures contradict, images that are there twice, or not any more."""

import shutil
from collections.abc import Callable
from typing import Any

from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun, Json

EVERYBODY = tuple(Attacker)


def _ladder(record: Json) -> list[Json]:
    """Return every measured rung of a record."""
    return [rung for rung in record["rungs"].values() if rung.get("replicas")]


def _each_replica(change: Callable[[Json], Any]) -> Callable[[EditedRun], None]:
    def make(run: EditedRun) -> None:
        def of_record(record: Json) -> None:
            for rung in _ladder(record):
                for replica in rung["replicas"]:
                    change(replica)

        run.change_record(0, of_record)

    return make


def _similar(replica: Json) -> None:
    replica["similarity"] = dict.fromkeys(replica["similarity"], 0.999)


def _near(replica: Json) -> None:
    replica["distance"] = dict.fromkeys(replica["distance"], 0.001)


def _similar_and_near(replica: Json) -> None:
    _similar(replica)
    _near(replica)


def _unlike(run: EditedRun) -> None:
    """Make the copies of a memorised image look like none."""
    chosen = run.verdicts("replicated")[0]
    run.name(chosen)
    lines = run.lines()
    for record in lines:
        if record["stage"] == "measured" and record["id"] == chosen:
            for rung in _ladder(record):
                for replica in rung["replicas"]:
                    replica["similarity"] = dict.fromkeys(replica["similarity"], 0.1)
                    replica["distance"] = dict.fromkeys(replica["distance"], 0.9)
    run.write_lines(lines)


def _error(run: EditedRun) -> None:
    """Edit the mean of the errors, and leave the errors by timestep."""
    run.change_record(0, lambda record: record["error"].update(log_ratio=5.0, conditional=0.001))


def _error_with_curve(run: EditedRun) -> None:
    """Edit errors so that they agree with each other and with curves.json: only the model could contradict them."""

    def of_record(record: Json) -> None:
        error = record["error"]
        for point in (error, *error["by_timestep"]):
            point["conditional"] *= 0.5
        error["log_ratio"] += 0.6931471805599453
        name = f"images/{record['id']}/curves.json"
        run.change(name, lambda curves: curves.update(by_timestep=error["by_timestep"]))

    run.change_record(0, of_record)


def _floor(run: EditedRun) -> None:
    run.change_record(0, lambda record: record.update(vae_floor=dict.fromkeys(record["vae_floor"], 0.5)))


def _complexity(run: EditedRun) -> None:
    run.change_record(0, lambda record: record.update(complexity=record["complexity"] * 3))


def _second_record(run: EditedRun) -> None:
    """Append another record of an image: of two, the last one counts."""
    lines = run.lines()
    first = next(line for line in lines if line["stage"] == "measured")
    run.name(first["id"])
    again = {**first, "error": {**first["error"], "log_ratio": 5.0}}
    run.write_lines([*lines, again])


def _drop_image(run: EditedRun) -> None:
    """Remove a memorised image and its pictures: the manifest still lists it."""
    chosen = run.verdicts("replicated")[0]
    run.name(chosen)
    run.write_lines([line for line in run.lines() if line.get("id") != chosen])
    shutil.rmtree(run.path / "images" / chosen)


def _drop_record(run: EditedRun) -> None:
    chosen = run.verdicts("replicated")[0]
    run.name(chosen)
    run.write_lines([line for line in run.lines() if line.get("id") != chosen])


def _skip_image(run: EditedRun) -> None:
    """Say of a memorised image that it could not be measured."""
    chosen = run.verdicts("replicated")[0]
    run.name(chosen)
    lines = run.lines()
    path = next(line["path"] for line in lines if line.get("id") == chosen)
    skipped = {"stage": "skipped", "path": path, "skipped": "the file could not be read", "passing": False}
    run.write_lines([*(line for line in lines if line.get("id") != chosen), skipped])


def _merge(run: EditedRun, *, same: bool) -> None:
    """Take an image over from another run: one that this run has too, or one that it lacks."""
    lines = run.lines()
    own = {line.get("id") for line in lines}
    other = EditedRun(run.other, run.other).lines()
    taken = next(line for line in other if line["stage"] == "measured" and (line["id"] in own) == same)
    run.name(taken["id"])
    shutil.rmtree(run.path / "images" / taken["id"], ignore_errors=True)
    shutil.copytree(run.other / "images" / taken["id"], run.path / "images" / taken["id"])
    run.write_lines([*(line for line in lines if line.get("id") != taken["id"]), taken])


def _merge_same(run: EditedRun) -> None:
    _merge(run, same=True)


def _merge_more(run: EditedRun) -> None:
    _merge(run, same=False)


def _replica_seed(replica: Json) -> None:
    replica["seed"] += 1


def _drop_replicas(run: EditedRun) -> None:
    """Leave the worst half of the generated images out of a record."""

    def of_record(record: Json) -> None:
        for rung in _ladder(record):
            rung["replicas"] = rung["replicas"][: len(rung["replicas"]) // 2]

    run.change_record(0, of_record)


def _text(run: EditedRun) -> None:
    """Put another caption in the place of the one that the model was asked with."""

    def of_record(record: Json) -> None:
        for rung in _ladder(record):
            rung["texts"] = ["another caption" for _ in rung["texts"]]

    run.change_record(0, of_record)


def _sha256(run: EditedRun) -> None:
    run.change_record(0, lambda record: record.update(sha256=record["sha256"][:16] + "0" * 48))


def _path(run: EditedRun) -> None:
    run.change_record(0, lambda record: record.update(path="elsewhere.png"))


def _damage(run: EditedRun) -> None:
    """Change a number in a line and leave its checksum: the record is then as if it had never been written."""
    run.replace_text("records.jsonl", '"log_ratio": 0.', '"log_ratio": 7.')


EDITS = (
    Edit("records: similarities", _each_replica(_similar), EVERYBODY),
    Edit("records: distances", _each_replica(_near), EVERYBODY),
    Edit("records: similarities and distances", _each_replica(_similar_and_near), EVERYBODY),
    Edit("records: copies made unlike", _unlike, EVERYBODY),
    Edit("records: an error, not its curve", _error, EVERYBODY),
    Edit("records: errors and their curves", _error_with_curve, by_head=(Attacker.DECIDES,)),
    Edit("records: the autoencoder's own similarity", _floor, EVERYBODY),
    Edit("records: the complexity of an image", _complexity, EVERYBODY),
    Edit("records: a second record of an image", _second_record, EVERYBODY),
    Edit("records: a memorised image removed", _drop_image, EVERYBODY),
    Edit("records: the record of an image removed", _drop_record, EVERYBODY),
    Edit("records: a memorised image called skipped", _skip_image, EVERYBODY),
    Edit("two runs merged: an image replaced", _merge_same, EVERYBODY),
    Edit("two runs merged: an image added", _merge_more, EVERYBODY),
    Edit("records: the seeds of generated images", _each_replica(_replica_seed), EVERYBODY),
    Edit("records: generated images left out", _drop_replicas, EVERYBODY),
    Edit("records: another caption", _text, EVERYBODY),
    Edit("records: another SHA-256 of an image", _sha256, EVERYBODY),
    Edit("records: another path of an image", _path, EVERYBODY),
    Edit("records: a line damaged", _damage, EVERYBODY),
)
"""Edits of measurements."""
