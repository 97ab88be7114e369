"""The most memory that a process had, measured in a process of its own."""

import subprocess
import sys

CODE = """
from imgaudit.benchmark.harness.peak_memory import peak_memory
import sys
before = peak_memory()
held = bytearray(b"x") * (before + 2**26)
size = len(held)
del held
print(before, size, peak_memory(), "pyarrow" in sys.modules or "torch" in sys.modules)
"""


def test_memory_that_was_given_back_counts_and_nothing_heavy_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, size, after, heavy = done.stdout.split()
    assert int(after) >= int(size) > int(before) and heavy == "False"
