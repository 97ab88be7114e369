"""`imgaudit verify` of one run, without keys and a model, in a process that reports its time and its peak memory.

python -m imgaudit.benchmark.verification.stage RUN
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from imgaudit.benchmark.harness.peak_memory import peak_memory
from imgaudit.schema.records import Record


class Verified(Record):
    """What verifying took."""

    seconds: float
    """Wall time, imports left out."""
    cpu_seconds: float
    """Processor time."""
    imported: int
    """Bytes of memory that the process has when everything is imported, and before anything is read."""
    peak: int
    """Bytes that it had at most, imports included."""
    problems: int
    """Problems that were found; 0 for a sound run."""
    files: int
    """Files of the run."""


def verify_in_process(run: Path) -> Verified:
    """Verify a run in a fresh process. Raises RuntimeError with what it wrote when it fails."""
    command = [sys.executable, "-m", "imgaudit.benchmark.verification.stage", str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"verifying {str(run)!r} failed: {done.stderr[-2000:]}")
    return Verified.model_validate_json(done.stdout.splitlines()[-1])


def _verify(folder: Path) -> dict[str, Any]:
    from imgaudit.report.verification import verify

    imported, before, cpu = peak_memory(), time.perf_counter(), time.process_time()
    found = verify(folder)
    return {
        "seconds": time.perf_counter() - before, "cpu_seconds": time.process_time() - cpu, "imported": imported,
        "peak": peak_memory(), "problems": len(found.problems), "files": found.files,
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_verify(Path(sys.argv[1]))) + "\n")
