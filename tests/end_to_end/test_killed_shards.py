"""Up to twenty kills at random moments, of a shard and of a merge, lose nothing: the result is that without kills."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.shards.reading import read_part
from imgaudit.runs.verification.run import verify_run
from tests.support.commands import Commands
from tests.support.shards import ShardedAudit, sharded

__all__ = ["sharded"]

FAST = [
    "--framing", "pad", "--steps", "1", "--draws", "1", "--score-after", "1", "--seeds", "1", "--num-inference-steps",
    "1", "--guidance-scale", "3", "--device", "cpu", "--batch-size", "64", "--chunk-size", "1", "--no-controls",
]  # fmt: skip

KILLS = 20

pytestmark = pytest.mark.slow


def kill_again_and_again(commands: Commands, command: list[object], longest: float, done: Callable[[], bool]) -> int:
    """Start a command over and over and kill it after a random time; return how often it was killed.

    Later attempts get more time, so that every stage is reached. A command that comes to its end is not given again.
    """
    moments, killed = random.Random(26), 0
    for attempt in range(1, KILLS + 1):
        child, _ = commands.start(*command)
        time.sleep(moments.uniform(0, longest * attempt / KILLS))
        killed += child.kill()
        if done():
            break
    return killed


def records(run: Path) -> dict[str, Any]:
    """What was measured of each image, without what clocks decide."""
    lines = [json.loads(line) for line in (run / "records.jsonl").read_text("utf-8").splitlines() if line.endswith("}")]
    return {one["path"]: {key: one[key] for key in one.keys() - {"check", "seconds"}} for one in lines}


def test_a_shard_that_is_killed_again_and_again_is_the_same(
    model_folder: Path, make_folder: Callable[..., Path], run_imgaudit: Commands, tmp_path: Path
) -> None:
    command = ["audit", make_folder("targets", range(24)), "--model", model_folder, "--shard", "2/2", *FAST]
    # The first command waits for the server that starts all of them.
    run_imgaudit("--version")
    whole = run_imgaudit(*command, "--out", tmp_path / "whole")
    assert whole.code == 0, whole.stderr
    out = tmp_path / "killed"
    finished = out / "evidence.json"
    killed = kill_again_and_again(run_imgaudit, [*command, "--out", out], whole.seconds, finished.is_file)
    last = run_imgaudit(*command, "--out", out)
    assert last.code == 0 and killed, last.stderr
    assert records(out) == records(tmp_path / "whole") and len(records(out)) == 12
    assert len(read_part(out).places) == 12


def test_a_merge_that_is_killed_again_and_again_is_the_same(
    sharded: ShardedAudit, run_imgaudit: Commands, tmp_path: Path
) -> None:
    command = ["merge", *(sharded.folder / name for name in ("1", "2", "3"))]
    run_imgaudit("--version")
    whole = run_imgaudit(*command, "--out", tmp_path / "whole")
    assert whole.code == 1, whole.stderr
    out = tmp_path / "killed"
    killed = kill_again_and_again(run_imgaudit, [*command, "--out", out], whole.seconds, out.is_dir)
    # The run is there as a whole, or not at all.
    assert not out.exists() or not find_problems(out)
    last = run_imgaudit(*command, "--out", out)
    assert last.code == 1 and killed and last.stdout.replace("killed", "whole") == whole.stdout, last.stderr
    assert not find_problems(out) and not (tmp_path / "killed.merging").exists()
    before, after = (read_finished_run(tmp_path / name).result for name in ("whole", "killed"))
    assert before.findings == after.findings and records(out) == records(tmp_path / "whole")


def find_problems(run: Path) -> list[str]:
    return [problem for check in verify_run(RunFolder(run)).checks for problem in check.problems]
