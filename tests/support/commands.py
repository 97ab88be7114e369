"""Commands in processes of their own, forked from a server that has imported torch and the rest once."""

from pathlib import Path

from imgaudit.benchmark.robustness.processes import Child, Ended


class Commands:
    """Runs `imgaudit` with the arguments given; every command has its own output, cache folder and process."""

    def __init__(self, folder: Path) -> None:
        """folder: where what the commands print is kept"""
        self._folder, self._number = folder, 0

    def start(self, *arguments: object) -> tuple[Child, Path]:
        """Start a command; return it and the folder of its `stdout` and `stderr`."""
        self._number += 1
        place = self._folder / f"command-{self._number}"
        return Child(arguments, place), place

    def __call__(self, *arguments: object, timeout: float = 600) -> Ended:
        """Run a command to its end."""
        return self.start(*arguments)[0].wait(timeout)
