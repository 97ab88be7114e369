import os
import subprocess
import sys

import pytest

PREPARED = "import sys; from imgaudit.cli.streams import prepare_streams, output_is_read; prepare_streams({})\n"
NAME = "\u685c\u306e\u6728.png"
WITHOUT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(program: str, arguments: list[str], **environ: str) -> subprocess.CompletedProcess[bytes]:
    """The end of a program whose streams are prepared as for a command with these arguments."""
    program = PREPARED.format(arguments) + program
    return subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env=os.environ | environ)


@pytest.mark.parametrize(
    "environ",
    [{"PYTHONIOENCODING": name} for name in ("cp1252", "ascii", "latin-1", "cp437")] + [WITHOUT_UTF8],
    ids=str,
)
def test_a_name_that_the_encoding_lacks_is_printed_with_escapes(environ: dict[str, str]) -> None:
    done = run(f"print({NAME!a}); print({NAME!a}, file=sys.stderr)", ["audit"], **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == done.stderr.split() == [b"\\u685c\\u306e\\u6728.png"]


@pytest.mark.parametrize(
    "arguments", [["audit", "a", "--json"], ["report", "run", "--format", "csv"], ["report", "run", "-fjson"]]
)
def test_what_programs_read_is_utf8(arguments: list[str]) -> None:
    done = run(f"print({NAME!a})", arguments, PYTHONIOENCODING="cp1252")
    assert done.stdout.decode("utf-8").strip() == NAME


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_pipe_leaves_the_exit_code(stream: str, unbuffered: str) -> None:
    program = PREPARED.format(["audit"]) + (
        "import time, rich.console; time.sleep(0.5)\n"
        f"print('a', file=sys.{stream}); rich.console.Console(file=sys.{stream}).print('b'); sys.{stream}.flush()\n"
        f"sys.exit(3 if output_is_read() == {stream == 'stderr'} else 4)"
    )
    ends = {name: subprocess.PIPE if name == stream else None for name in ("stdout", "stderr")}
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        stdout=ends["stdout"],
        stderr=ends["stderr"],
    )
    pipe = getattr(child, stream)
    pipe.close()
    assert child.wait() == 3


@pytest.mark.skipif(os.name == "nt", reason="closing a stream is a shell's work")
@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_that_was_closed_before_takes_nothing_away(closed: int) -> None:
    program = PREPARED.format(["audit"]) + "print('a'); print('b', file=sys.stderr); sys.exit(3)"
    assert (
        subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}>&-', sys.executable, program], check=False).returncode == 3
    )


def test_a_message_about_a_strange_name_is_no_error_of_imgaudit() -> None:
    command = [sys.executable, "-m", "imgaudit", "report", NAME]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 2 and b"unexpected" not in done.stderr and b"\\u685c" in done.stderr


def test_a_stream_that_nothing_else_holds_stays_open() -> None:
    own = "import io, sys; sys.stdout = io.TextIOWrapper(io.FileIO(1, 'w', closefd=False))\n"
    program = own + PREPARED.format(["audit"]) + "import gc; gc.collect(); print('a')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")
