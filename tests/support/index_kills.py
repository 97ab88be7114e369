"""Builds a collection in processes that are killed at their 1st, 2nd, 3rd, ... durable step, until one comes through.

    python -m tests.support.index_kills COLLECTION SOURCE...

The parent imports everything once and computes nothing, so that its children can be forked safely.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

from imgaudit.index import BuildOptions, build_collection, image_folders, pair_id_lists


def kill_at(step: int) -> None:
    """Let this process die instead of its `step`-th call that makes something durable or visible."""
    steps = count(1)

    def deadly(work: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments, **options)

        return call

    os.fsync = deadly(os.fsync)
    Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
    Path.unlink = deadly(Path.unlink)  # type: ignore[method-assign]


def main() -> None:
    folder, *sources = (Path(word) for word in sys.argv[1:])
    image_folders.PART, image_folders.TASK = 4, 2
    deaths = 0
    for step in count(1):
        child = os.fork()
        if child == 0:
            # Each goes on from what the one before left, and lives one step longer.
            kill_at(step)
            build_collection(folder, pair_id_lists(sources), BuildOptions("pixel", None, 7), workers=0)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        deaths += 1
    print(deaths)


if __name__ == "__main__":
    main()
