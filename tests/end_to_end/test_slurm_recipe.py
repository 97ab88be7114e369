"""The recipe for Slurm, run with an `sbatch` that runs every task here, one after the other."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "examples" / "slurm"

SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path

here = Path(os.environ["FAKE_SLURM"])
*options, script = sys.argv[1:]
given = dict(one.removeprefix("--").partition("=")[::2] for one in options)
assert given.keys() <= {{"parsable", "array", "dependency"}} and "parsable" in given, given
directives = re.findall(r"^#SBATCH --([a-z-]+)=?", Path(script).read_text(), re.MULTILINE)
assert set(directives) <= {{"job-name", "gres", "cpus-per-task", "mem", "time", "requeue", "signal", "output"}}
number = len(list(here.iterdir())) + 1
waited = given.get("dependency", "").removeprefix("afterok:")
tasks = range(1, int(given["array"].removeprefix("1-")) + 1) if "array" in given else [0]
codes = []
if not waited or (here / waited).read_text() == "0":
    for task in tasks:
        environ = os.environ | ({{"SLURM_ARRAY_TASK_ID": str(task)}} if task else {{}})
        with (here.parent / f"{{Path(script).name}}-{{number}}-{{task}}.log").open("w") as log:
            codes.append(subprocess.run(["bash", script], env=environ, stdout=log, stderr=log).returncode)
(here / str(number)).write_text(str(max(map(abs, codes), default=1)))
print(number)
"""

IMGAUDIT = """#!/bin/sh
# The first attempt at the second shard's images is killed.
case "$*" in audit*--shard*2/2*) if [ ! -e "{marker}" ]; then touch "{marker}"; kill -9 $$; fi;; esac
exec "{python}" -m imgaudit "$@"
"""

OPTIONS = (
    "--framing pad --steps 1 --draws 1 --score-after 1 --seeds 1 --num-inference-steps 1 --guidance-scale 3 "
    "--batch-size 64 --chunk-size 2 --device cpu"
)


def submit(environ: dict[str, str]) -> str:
    command = ["sh", str(RECIPE / "submit.sh")]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=1200).stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts need bash")
def test_the_recipe_audits_and_goes_on_after_a_task_was_killed(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("imgaudit", IMGAUDIT)):
        (programs / name).write_text(text.format(python=sys.executable, marker=tmp_path / "killed"))
        (programs / name).chmod(0o755)
    (tmp_path / "jobs").mkdir()
    environ = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OPTIONS": OPTIONS,
        "FAKE_SLURM": str(tmp_path / "jobs"), "MODEL": str(model_folder), "WORK": str(tmp_path / "work"),
        "TARGETS": str(make_folder("targets", range(3))), "CONTROLS": str(make_folder("controls", range(10, 13))),
        "SHARDS": "2", "NOTE": "drawn for this test",
    }  # fmt: skip
    submit(environ)
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    codes = [(tmp_path / "jobs" / str(number)).read_text() for number in (1, 2, 3, 4)]
    assert codes[:2] == ["0", "0"] and codes[2] != "0" and codes[3] != "0", logs
    assert not (tmp_path / "work" / "run").exists()
    said = submit(environ)
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    assert (tmp_path / "jobs" / "8").read_text() == "0", logs
    report = Path(re.search(r"the report will be (\S+);", said)[1])  # type: ignore[index]
    assert report.is_file()
    # The first shard was finished, so its model was not loaded again.
    assert "nothing to do" in logs["audit.sbatch-7-1.log"] and "loading" not in logs["audit.sbatch-7-1.log"]
