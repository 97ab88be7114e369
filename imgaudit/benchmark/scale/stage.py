"""One stage of a large run in a process of its own, which reports its time and its peak memory.

python -m imgaudit.benchmark.scale.stage RUN conclude|render|verify
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from imgaudit.benchmark.harness.peak_memory import peak_memory
from imgaudit.schema.records import Record

STAGES = ("conclude", "render", "verify")
"""What is measured, in the order in which a run goes through it."""


_MADE = {"conclude": ("report.json",), "render": ("report", "evidence.json"), "verify": ()}
"""What a stage writes into the run."""


class StageCost(Record):
    """What a stage took."""

    stage: str
    """conclude, render or verify."""
    seconds: float
    """Wall time, imports left out."""
    cpu_seconds: float
    """Processor time, which a busy machine stretches less."""
    imported: int
    """Bytes of memory that the process has when everything is imported, and before anything is read."""
    peak: int
    """Bytes that it had at most, imports included."""
    problems: int
    """Problems that verifying found; 0 for a sound run, and for the other stages."""


def run_stage(run: Path, stage: str) -> StageCost:
    """Take a run through a stage in a fresh process, from the beginning where the stage was cut short before.

    Raises RuntimeError with what it wrote when it fails.
    """
    for name in _MADE[stage]:
        made = run / name
        shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
    command = [sys.executable, "-m", "imgaudit.benchmark.scale.stage", str(run), stage]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{stage} of {str(run)!r} failed: {done.stderr[-2000:]}")
    return StageCost.model_validate_json(done.stdout.splitlines()[-1])


def _measure(folder: Path, stage: str) -> dict[str, Any]:
    from imgaudit.report.finishing import finish_run
    from imgaudit.report.verification import verify
    from imgaudit.runs.conclusion import conclude
    from imgaudit.runs.finished import read_result
    from imgaudit.runs.folder import RunFolder

    run = RunFolder(folder)
    imported, before, cpu, problems = peak_memory(), time.perf_counter(), time.process_time(), 0
    if stage == "conclude":
        conclude(run)
    elif stage == "render":
        finish_run(run, read_result(run))
    else:
        problems = len(verify(folder).problems)
    return {
        "stage": stage, "seconds": time.perf_counter() - before, "cpu_seconds": time.process_time() - cpu,
        "imported": imported, "peak": peak_memory(), "problems": problems,
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]), sys.argv[2])) + "\n")
