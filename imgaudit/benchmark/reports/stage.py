"""Rendering one finished run in a process of its own, which reports its time and its peak memory.

python -m imgaudit.benchmark.reports.stage RUN PROCESSES
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from imgaudit.schema.records import Record


class Rendering(Record):
    """What rendering took."""

    seconds: float
    """Wall time of writing every format, the model and the decision left out."""
    cpu_seconds: float
    """Processor time of all processes, which a busy machine stretches less."""
    imported: int
    """Bytes of memory that the process has when everything is imported, and before anything is read."""
    peak: int
    """Bytes that it had at most beyond that, the result that it renders included."""


def render_in_process(run: Path, processes: int) -> Rendering:
    """Render a run in a fresh process. Raises RuntimeError with what it wrote when it fails."""
    command = [sys.executable, "-m", "imgaudit.benchmark.reports.stage", str(run), str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"rendering {str(run)!r} failed: {done.stderr[-2000:]}")
    return Rendering.model_validate_json(done.stdout.splitlines()[-1])


def _render(folder: Path, processes: int) -> dict[str, Any]:
    # Imported here: processes that write thumbnails import this module again, and need none of it.
    import resource
    import time

    from imgaudit.benchmark.harness.peak_memory import peak_memory
    from imgaudit.report import write_report
    from imgaudit.runs.folder import RunFolder
    from imgaudit.schema.findings import AuditResult

    imported = peak_memory()
    run = RunFolder(folder)
    result = AuditResult.model_validate_json(run.report_path.read_bytes())

    def processor() -> float:
        beside = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + beside.ru_utime + beside.ru_stime

    before, cpu = time.perf_counter(), processor()
    write_report(run, result, processes)
    seconds, cpu = time.perf_counter() - before, processor() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "imported": imported, "peak": peak_memory() - imported}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_render(Path(sys.argv[1]), int(sys.argv[2]))) + "\n")
