"""The most memory that a process had. It imports nothing, so that a measured process loads only what it measures."""

import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Return the bytes of memory that this process had at most."""
    try:
        # ru_maxrss of a process that was started by a large one includes that one's size.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
