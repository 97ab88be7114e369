"""`--log-file`: what happens in an audit as lines of JSON, appended as it happens, for programs that watch it.

Every line has `time` (UTC) and `event`; the other fields depend on the event:

- `begin`: `command`, the line that was typed
- `note`: `message`
- `stage`: `stage`, `done`, `total`, and `seconds` since the command began
- `step`: `step`, what is done within the stage; `images` (their paths), and `evaluations` of the network so far. Also
  every 30 seconds while a step lasts
- `image`: `image` (its path), `stage`, and `seconds` that its measurement took
- `finding`: `image`, `verdict`, and `seconds`; these come last, because every verdict depends on the whole folder
- `end`: `exit_code` and `seconds`
"""

import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imgaudit.cli.pace import Activity
from imgaudit.cli.terminal import print_error
from imgaudit.exceptions import InputError
from imgaudit.io.provenance import utc_now

BEGINNINGS = (b'{"event":', b'{"time":')
"""First bytes of a log."""


class EventLog:
    """Appends events to a file; one that can no longer be written ends the log and not the audit."""

    def __init__(self, descriptor: int | None) -> None:
        """descriptor: of an open file; None for no log"""
        self._descriptor = descriptor
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the log was opened."""
        return round(time.monotonic() - self._began, 3)

    def write(self, event: str, **fields: object) -> None:
        """Append one line."""
        if self._descriptor is None:
            return
        line = json.dumps({"time": utc_now(), "event": event, **fields}) + "\n"
        try:
            os.write(self._descriptor, line.encode())
        except OSError as error:
            print_error(f"the log file can no longer be written ({error.strerror}); the audit goes on without it")
            self._descriptor = None

    def note_stage(self, stage: str, done: int, total: int) -> None:
        """Append how far a stage is."""
        self.write("stage", stage=stage, done=done, total=total, seconds=self.seconds)

    def note_step(self, activity: Activity) -> None:
        """Append the step that a stage is at, once there is one."""
        if not activity.step:
            return
        self.write("step", step=activity.step, images=activity.paths, evaluations=activity.evaluations)

    def note_image(self, path: str, seconds: float) -> None:
        """Append that an image was measured."""
        self.write("image", image=path, stage="auditing", seconds=round(seconds, 3))


def require_apart(path: Path, apart_from: Sequence[Path]) -> None:
    """Refuse a log that is one of these files, or lies in one of these folders. Raises InputError."""
    for used in apart_from:
        if path.resolve().is_relative_to(used.resolve()):
            place = "lies in" if used.is_dir() else "is"
            raise InputError(
                f"--log-file {str(path)!r} {place} {str(used)!r}, which this command uses: name another file"
            )


@contextmanager
def open_log(path: Path | None, apart_from: Sequence[Path]) -> Iterator[EventLog]:
    """Open a log to append to; None gives one that writes nothing.

    apart_from:  files that the command reads, and folders that it reads or writes: the log is none of them, and lies
        in none of them
    Raises InputError for such a place, a link, anything else than a file, and a file that holds something else.
    """
    if path is None:
        yield EventLog(None)
        return
    require_apart(path, apart_from)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else error.strerror
        raise InputError(f"--log-file {str(path)!r} cannot be written: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"--log-file {str(path)!r} is not a file")
        if (begin := os.read(descriptor, len(BEGINNINGS[0]))) and not begin.startswith(BEGINNINGS):
            raise InputError(
                f"--log-file {str(path)!r} holds something else than a log of imgaudit: name a new file, or a log to "
                "continue"
            )
        yield EventLog(descriptor)
    finally:
        os.close(descriptor)
