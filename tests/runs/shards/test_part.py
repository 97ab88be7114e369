"""A shard measures its own images, concludes nothing, and says so wherever somebody asks it for a result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.api import audit, measure_shard
from imgaudit.cli import app
from imgaudit.exceptions import InputError, RunFolderError, VerificationError
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.evidence import read_evidence
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inputs import AuditInputs
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.measurement import chunks
from imgaudit.runs.repetition import NamedModel, find_finished_shard
from imgaudit.runs.shards.part import summarise_shard, take_shard
from imgaudit.runs.verification.run import verify_run
from imgaudit.schema.shard import Shard
from tests.support.shards import IMAGES, ShardedAudit, sharded

__all__ = ["sharded"]


def test_every_shard_has_its_own_images_and_knows_all(sharded: ShardedAudit) -> None:
    summaries = [summarise_shard(RunFolder(sharded.folder / name)) for name in ("1", "2", "3")]
    assert [one.images for one in summaries] == [2, 2, 1] == [one.measured for one in summaries]
    assert sum(one.measured for one in summaries) == IMAGES and not any(one.skipped for one in summaries)
    for number, summary in enumerate(summaries, 1):
        run = RunFolder(sharded.folder / str(number))
        manifest = read_manifest(run)
        assert manifest.shard == summary.shard == Shard(number=number, count=3)
        assert len(manifest.targets) == IMAGES and summary.head == read_evidence(run).head
        names = {path.name for path in run.path.iterdir()}
        assert "report.json" not in names and ("model_checks.json" in names) == (number == 1)


def test_a_part_of_the_portfolio_is_cut_into_the_same_chunks(sharded: ShardedAudit) -> None:
    whole = chunks(sharded.portfolio, 2)
    parts = [take_shard(sharded.portfolio, Shard(number=number, count=3), 2) for number in (1, 2, 3)]
    assert [chunk for part in parts for chunk in chunks(part, 2)] == whole
    assert take_shard(sharded.portfolio, None, 2) is sharded.portfolio
    assert not take_shard(sharded.portfolio, Shard(number=9, count=9), 2).targets


@pytest.mark.parametrize("ask", [conclude, verify_run, lambda run: read_finished_run(run.path)])
def test_no_verdict_can_be_had_of_a_shard(sharded: ShardedAudit, ask: Callable[[RunFolder], object]) -> None:
    with pytest.raises((RunFolderError, VerificationError), match=r"is shard 2 of 3 of an audit\. No verdict"):
        ask(RunFolder(sharded.folder / "2"))


def test_a_shard_is_continued_as_that_shard_only(sharded: ShardedAudit, tmp_path: Path) -> None:
    run = sharded.copy(tmp_path)[1]
    records = run / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RunFolderError, match="shard 2 of 3, now shard 1 of 3"):
        sharded.measure("1/3", run)
    with pytest.raises(RunFolderError, match="shard 2 of 3, now all images"):
        audit(sharded.model, sharded.portfolio, out=run, config=sharded.config)
    with pytest.raises(RunFolderError, match="chunk size 2, now 3"):
        sharded.measure("2/3", run, chunk_size=3)
    sharded.measure("2/3", run)
    assert len(records.read_bytes().splitlines()) == len(lines)
    assert summarise_shard(RunFolder(run)).measured == 2


def test_a_shard_without_images_is_finished_too(sharded: ShardedAudit, tmp_path: Path) -> None:
    sharded.measure("4/4", tmp_path / "empty")
    assert summarise_shard(RunFolder(tmp_path / "empty")).images == 0


def test_controls_that_every_shard_would_measure_are_refused(sharded: ShardedAudit, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="controls are measured once for all shards"):
        measure_shard(
            sharded.model, sharded.portfolio, "1/3", out=tmp_path / "run", config=sharded.config,
            controls=sharded.portfolio,  # type: ignore[arg-type]
        )  # fmt: skip
    assert not (tmp_path / "run" / "manifest.json").exists()
    with pytest.raises(InputError, match="is a whole audit"):
        summarise_shard(RunFolder(sharded.folder / "whole"))


def test_a_finished_shard_given_again_needs_no_model(sharded: ShardedAudit, tmp_path: Path) -> None:
    class Named(NamedModel):
        fingerprint = sharded.model.denoiser.fingerprint  # type: ignore[assignment]

    run, second = sharded.copy(tmp_path)[1], Shard(number=2, count=3)
    inputs = AuditInputs(sharded.portfolio, None, None, None, sharded.config.policy, shard=second)
    found = find_finished_shard(run, Named("memoriser"), inputs, sharded.config)
    assert found == summarise_shard(RunFolder(run))
    other = replace(inputs, shard=Shard(number=1, count=3))
    assert find_finished_shard(run, Named("memoriser"), other, sharded.config) is None
    for changes in ({"seed": 1}, {"chunk_size": 3}, {"steps": 3}):
        config = sharded.config.model_copy(update=changes)
        assert find_finished_shard(run, Named("memoriser"), inputs, config) is None
    (run / "evidence.json").unlink()
    assert find_finished_shard(run, Named("memoriser"), inputs, sharded.config) is None


@pytest.mark.parametrize(
    "command", [["report"], ["report", "--format", "csv"], ["verify"], ["view"], ["review", "status"]]
)
def test_no_command_changes_a_shard(sharded: ShardedAudit, command: list[str]) -> None:
    run = sharded.folder / "2"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    done = CliRunner().invoke(app, [*command[:2], str(run), *command[2:]] if command[0] == "review" else
                              [command[0], str(run), *command[1:]])  # fmt: skip
    assert done.exit_code != 0 and "shard 2 of 3" in str(done.exception), done.exception
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if path.name != ".lock"} == {
        path: time for path, time in before.items() if path.name != ".lock"
    }
