"""Run folders as somebody could send them: with links, FIFOs and huge files where imgaudit reads and writes.

Each case changes a copy of a finished run. Everything that it points to lies in a folder beside that copy.
"""

import functools
import json
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imgaudit.io.writing import append_lines

COLOUR = (255, 0, 254)
"""Colour of the picture outside: no picture of a run has it."""

SPARSE = 8 * 2**30
"""Bytes of a file that takes no room on disk."""


@dataclass(frozen=True)
class ReceivedRun:
    """A copy of a finished run, and a folder outside that nothing may reach."""

    path: Path
    """The copy."""
    outside: Path
    """Folder beside it, with a file for every name that a run has."""
    image: str
    """Id of an image that the report shows with a generated one."""
    replica: str
    """Path of that generated image, within the run."""


@dataclass(frozen=True)
class HostileRun:
    """One way in which a run folder can be made to harm."""

    kind: str
    """Row of the table."""
    what: str
    """Name of the case."""
    prepare: Callable[[ReceivedRun], None]
    """Changes the copy."""


def make_outside(folder: Path, marker: str, image: str) -> None:
    """Fill the folder outside: texts with the marker, pictures of one colour, under the names that a run uses."""
    for place in (folder, folder / "thumbs", folder / "images", folder / image, folder / image / "replicas"):
        place.mkdir(parents=True, exist_ok=True)
        for name in ("target.png", "rendered.png", "picture.png"):
            Image.new("RGB", (64, 64), COLOUR).save(place / name)
        Image.new("RGB", (64, 64), COLOUR).save(place / f"{image}-target.jpg", quality=95)
        for name in ("index.html", "decisions.jsonl", "records.jsonl", "manifest.json", "report.json", "canary.txt",
                     "embeds.safetensors", ".lock", ".lock-holder"):  # fmt: skip
            (place / name).write_text(f"{marker}\n", encoding="utf-8")


def hostile_runs() -> list[HostileRun]:
    """Return every case."""
    return [*_links_to_folders(), *_links_to_files(), *_hard_links(), *_special_files(), *_huge_files(), *_paths()]


def _links_to_folders() -> list[HostileRun]:
    names = ("report", "report/thumbs", "report/assets", "report/charts", "report/images", "report/data", "images",
             "images/ID", "images/ID/replicas", "review", "controls", "attestations")  # fmt: skip
    cases = [_case("link to a folder", name, name, _link) for name in names]
    cases.append(_case("link to a folder", "report, relative", "report", _link_relative))
    return [*cases, _case("link to a folder", "report to the run itself", "report", _link_to_self)]


def _links_to_files() -> list[HostileRun]:
    temporary = ("report.json", "evidence.json", "report/index.html", "report/findings.csv")
    old = [str(Path(name).parent / f".{Path(name).name}.partial") for name in temporary]
    names = (*old, ".lock", ".lock-holder", "review/.lock", "review/decisions.jsonl", "report/index.html",
             "report/thumbs/ID-target.jpg", "images/ID/target.png", "images/ID/rendered.png",
             "images/ID/embeds.safetensors", "REPLICA", "report.json", "manifest.json", "records.jsonl",
             "calibration.json", "evidence.json", "model_checks.json", "history.jsonl", "continued.jsonl",
             "decoys.safetensors", "reference.json", "seal.json")  # fmt: skip
    cases = [_case("link to a file", name, name, _link) for name in names]
    dangling = (".lock", ".lock-holder", "report/index.html", "review/decisions.jsonl", "history.jsonl")
    return [*cases, *(_case("link to what is not there", name, name, _link_to_nothing) for name in dangling)]


def _hard_links() -> list[HostileRun]:
    names = (".lock", ".lock-holder", "review/.lock", "review/decisions.jsonl", "report/index.html", "report.json",
             "history.jsonl")  # fmt: skip
    return [_case("hard link", name, name, _link_hard) for name in names]


def _special_files() -> list[HostileRun]:
    names = ("images/ID/target.png", "REPLICA", "records.jsonl", "report.json", "manifest.json", "evidence.json",
             "calibration.json", ".lock", ".lock-holder", "review/decisions.jsonl", "report/index.html",
             "images/ID/surplus")  # fmt: skip
    cases = [_case("FIFO", name, name, _put_fifo) for name in names]
    cases += [_case("socket", name, name, _put_socket) for name in ("records.jsonl", "images/ID/target.png")]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        cases += [_case("device", name, name, _put_device) for name in ("report.json", "images/ID/target.png")]
    return cases


def _huge_files() -> list[HostileRun]:
    names = ("records.jsonl", "report.json", "manifest.json", "evidence.json", "calibration.json",
             "review/decisions.jsonl", "images/ID/target.png", "report/index.html")  # fmt: skip
    cases = [_case("8 GiB", name, name, _put_sparse) for name in names]
    pictures = ("images/ID/target.png", "images/ID/rendered.png", "REPLICA")
    cases += [_case("small PNG of 900 million pixels", name, name, _put_bomb) for name in pictures]
    return [*cases, _case("small PNG of 64 million pixels", "REPLICA", "REPLICA", _put_large_png)]


def _paths() -> list[HostileRun]:
    goals = ("../outside/picture.png", "{outside}/picture.png", "images/../../outside/picture.png")
    return [
        _case("path that leads outside", f"{name} to {goal}", name, _Redirected(goal))
        for name in ("report.json", "records.jsonl", "evidence.json")
        for goal in goals
    ]


def _case(kind: str, what: str, name: str, change: Callable[[ReceivedRun, Path], None]) -> HostileRun:
    def prepare(run: ReceivedRun) -> None:
        path = run.path / name.replace("REPLICA", run.replica).replace("ID", run.image)
        path.parent.mkdir(parents=True, exist_ok=True)
        change(run, path)

    return HostileRun(kind, what, prepare)


def _goal(run: ReceivedRun, path: Path) -> Path:
    """Return the entry outside that stands for an entry of the run."""
    if path.is_dir() or (not path.suffix and not path.name.startswith(".")):
        return run.outside / run.image if path.name == run.image else run.outside
    found = run.outside / path.name
    if found.exists():
        return found
    return run.outside / ("picture.png" if path.suffix == ".png" else "canary.txt")


def _clear(path: Path) -> None:
    if path.is_dir():
        path.rename(path.with_name(f".moved-{path.name}"))
    else:
        path.unlink(missing_ok=True)


def _link(run: ReceivedRun, path: Path) -> None:
    goal = _goal(run, path)
    _clear(path)
    path.symlink_to(goal)


def _link_relative(run: ReceivedRun, path: Path) -> None:
    _clear(path)
    path.symlink_to(Path("..", run.outside.name))


def _link_to_self(run: ReceivedRun, path: Path) -> None:
    _clear(path)
    path.symlink_to(".")


def _link_to_nothing(run: ReceivedRun, path: Path) -> None:
    _clear(path)
    path.symlink_to(run.outside / "new")


def _link_hard(run: ReceivedRun, path: Path) -> None:
    _clear(path)
    os.link(run.outside / "canary.txt", path)


def _put_fifo(_: ReceivedRun, path: Path) -> None:
    _clear(path)
    os.mkfifo(path)


def _put_socket(_: ReceivedRun, path: Path) -> None:
    _clear(path)
    before = Path.cwd()
    # The path of a socket may have about a hundred bytes only.
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def _put_device(_: ReceivedRun, path: Path) -> None:
    _clear(path)
    # /dev/zero, which never ends.
    os.mknod(path, 0o20666, os.makedev(1, 5))


def _put_sparse(_: ReceivedRun, path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(SPARSE)


def _put_bomb(_: ReceivedRun, path: Path) -> None:
    path.write_bytes(_png(30_000, 30_000))


def _put_large_png(_: ReceivedRun, path: Path) -> None:
    path.write_bytes(_png(8000, 8000))


@functools.cache
def _png(width: int, height: int) -> bytes:
    """Return a PNG of one grey, which deflates by a factor of about a thousand."""
    pixels = zlib.compressobj(9)
    rows = b"".join(pixels.compress(bytes(1 + width)) for _ in range(height)) + pixels.flush()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""),
    )  # fmt: skip
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@dataclass(frozen=True)
class _Redirected:
    """Every mention of a generated image's path in a file becomes another path."""

    goal: str

    def __call__(self, run: ReceivedRun, path: Path) -> None:
        named, goal = json.dumps(run.replica), json.dumps(self.goal.format(outside=run.outside))
        text = path.read_text(encoding="utf-8")
        if named not in text:
            raise RuntimeError(f"{path.name} does not name {run.replica}")
        text = text.replace(named, goal)
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in text.splitlines()]
            path.unlink()
            # With checksums that fit: whoever changes a record can make them again.
            append_lines(path, [{name: value for name, value in one.items() if name != "check"} for one in records])
        else:
            path.write_text(text, encoding="utf-8")
