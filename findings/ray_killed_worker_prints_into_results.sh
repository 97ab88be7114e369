#!/usr/bin/env bash
# When a worker dies, Ray prints about it to the driver's standard output, in colour, also where nothing of the kind is
# wanted.
#
# Expected: with log_to_driver=False and configure_logging=False a program's standard output holds what the program
# prints. Messages about workers, if any, go to standard error, and colours only to a terminal.
# Seen: once a worker is killed, a line about it with ANSI colour codes stands among the program's own lines, in a file
# as well as on a terminal. The program itself went on: the task was tried again and succeeded.
# Why: errors of the cluster are printed by a thread of the driver that log_to_driver does not concern; it hands them to
# standard output (is_err is False). RAY_COLOR_PREFIX=0 takes the colours away, and not the line.
# Why it matters: a program that prints JSON lines or CSV gives its reader a line that is neither, and only on the day on
# which memory runs out or a machine vanishes.
#
# Package: ray 2.60.0. Where: ray/_private/worker.py, listen_error_messages and print_to_stdstream.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check ray==2.60.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
mkdir home

cat > program.py << 'PYTHON'
import json
import os
import signal
import time
from pathlib import Path

import ray

ray.init(num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)


@ray.remote(max_retries=1)
def measure(folder):
    begun = Path(folder) / "begun"
    if begun.exists():
        return "measured"
    begun.write_text(str(os.getpid()))
    time.sleep(600)


result = measure.remote(os.getcwd())
while not Path("begun").exists() or not Path("begun").read_text():
    time.sleep(0.1)
os.kill(int(Path("begun").read_text()), signal.SIGKILL)
print(json.dumps({"result": ray.get(result)}), flush=True)
time.sleep(5)
ray.shutdown()
PYTHON
env -u RAY_AUTH_MODE -u RAY_AUTH_TOKEN -u RAY_AUTH_TOKEN_PATH -u RAY_COLOR_PREFIX HOME="$work/home" RAY_TMPDIR="$work" \
    RAY_USAGE_STATS_ENABLED=0 "$work/venv/bin/python" program.py > output.jsonl 2> ray.log || { cat ray.log >&2; exit 1; }

cat > read.py << 'PYTHON'
import json
from importlib.metadata import version
from pathlib import Path

lines = Path("output.jsonl").read_text().splitlines()
print("ray", version("ray"))
print("printed by the program:", [json.loads(line) for line in lines if line.startswith("{")])
others = [line for line in lines if line and not line.startswith("{")]
print("printed by Ray:", len(others) > 0, repr(others[0][:61]) if others else "")
PYTHON
cat > expected.txt << 'EXPECTED'
ray 2.60.0
printed by the program: [{'result': 'measured'}]
printed by Ray: True '\x1b[33m(raylet)\x1b[0m A worker died or was killed while executing'
EXPECTED
"$work/venv/bin/python" read.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
