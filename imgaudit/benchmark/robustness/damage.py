"""Everything around an audit that can be taken from it: disk, rights, records, files, memory, the clock."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from imgaudit.benchmark.robustness.bench import (
    IMAGES,
    Bench,
    differences,
    findings_of_run,
    verdicts_of_run,
    visible_problems,
)
from imgaudit.benchmark.robustness.interruptions import RESUMABLE, Undisturbed, records, resume
from imgaudit.benchmark.robustness.processes import Child, paused, run_command, wait_until, without_file_privileges
from imgaudit.models.families.unet import UNetDenoiser

SMALLEST_DISK = 16 * 1024
"""Bytes of the smallest file system that an audit is asked to write to."""


def _mount(place: Path, size: int, *, again: bool = False) -> bool:
    options = f"{'remount,' if again else ''}size={size}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def fill_disk(bench: Bench, whole: Undisturbed, times: int) -> None:
    """Audit onto a file system that is too small by a random amount, make room, give the command again."""
    kind = "disk full at a random write"
    for _ in range(times):
        place = bench.place("disk")
        disk = place / "disk"
        disk.mkdir()
        if not _mount(disk, bench.random.randint(SMALLEST_DISK, int(0.9 * whole.bytes_written))):
            bench.recorder.leave_out(kind, "mounting a small file system takes a superuser")
            return
        try:
            ended = Child(whole.arguments(bench, disk / "run"), place).wait()
            problems = visible_problems(ended, (2,))
            if "No space left" not in ended.stderr:
                problems.append(f"it does not say that the disk is full: {ended.stderr[-300:]!r}")
            _mount(disk, 64 * 2**20, again=True)
            _, later = resume(bench, whole, disk / "run", place / "resumed")
        finally:
            subprocess.run(["umount", str(disk)], check=False)
        bench.compare("damage", kind, later, problems)


def take_rights(bench: Bench, whole: Undisturbed) -> None:
    """Folders and files that this user may not read or write."""
    cases: list[tuple[str, str, int, tuple[int, ...]]] = [
        ("an image that may not be read", "image", 0o000, (1, 3)),
        ("a folder of images that may not be listed", "subfolder", 0o000, (1, 3)),
        ("the whole portfolio may not be listed", "portfolio", 0o000, (2,)),
        ("captions that may not be read", "captions", 0o000, (2,)),
        ("a run folder that may not be written", "out", 0o555, (2,)),
    ]
    for kind, what, mode, codes in cases:
        targets, _ = bench.portfolio()
        place = bench.place("rights")
        run, captions = place / "out" / "run", place / "captions.csv"
        run.parent.mkdir()
        (targets / "sub").mkdir()
        first = sorted(targets.glob("*.png"))[0]
        captions.write_text(f"file_name,text\n{first.name},x\n", encoding="utf-8")
        path = {"image": first, "subfolder": targets / "sub", "portfolio": targets, "captions": captions,
                "out": run.parent}[what]  # fmt: skip
        path.chmod(mode)
        more = ["--captions", captions] if what == "captions" else []
        ended = run_command(bench.audit(targets, run, *more), place / "output", without_file_privileges)
        path.chmod(0o755)
        problems = visible_problems(ended, codes)
        skipped = [name for name, verdict in verdicts_of_run(run).items() if verdict == "skipped"]
        if codes == (1, 3) and skipped != [path.name]:
            problems.append(f"skipped are {skipped}, not {path.name}")
        said = " ".join(ended.stderr.split())
        denied = ("Permission denied", "is not readable", "cannot write", "cannot be read")
        if codes == (2,) and not any(words in said for words in denied):
            problems.append(f"it does not say what is denied: {ended.stderr[-300:]!r}")
        bench.recorder.count("damage", kind, "skipped" if codes != (2,) else "refused", problems)


def audit_twice_at_once(bench: Bench, whole: Undisturbed) -> None:
    """A second audit on a run folder that is held; then a lock whose holder was killed, and a forged one."""
    place = bench.place("held")
    run = place / "run"
    first = whole.start(bench, run, place / "first", "calibrating")
    with paused(first):
        second = Child(whole.arguments(bench, run), place / "second").wait()
    problems = visible_problems(second, (2,))
    # Messages are wrapped to the width of the terminal.
    if f"process {first.process.pid} on " not in " ".join(second.stderr.split()):
        problems.append(f"it does not say who holds the run: {second.stderr[-300:]!r}")
    problems += visible_problems(first.wait(), RESUMABLE) + differences(findings_of_run(run), whole.findings)
    bench.recorder.count("damage", "two audits on one run folder", "refused, first identical", problems)

    place = bench.place("stale")
    run = place / "run"
    whole.start(bench, run, place / "killed", "calibrating").kill()
    (run / ".lock-holder").write_text("process 1 on elsewhere since 1970\x1b[31m", encoding="utf-8")
    _, problems = resume(bench, whole, run, place / "resumed")
    bench.compare("damage", "a lock left by a killed audit", problems)


def _half_done(bench: Bench, whole: Undisturbed) -> tuple[Path, Path]:
    """A run that was killed after at least two images were recorded."""
    while True:
        place = bench.place("half")
        run = place / "run"
        child = Child(whole.arguments(bench, run), place / "killed")
        wait_until(lambda run=run: records(run) >= 2, child)  # type: ignore[misc]
        child.kill()
        if 2 <= records(run) <= IMAGES:
            return place, run


def damage_records(bench: Bench, whole: Undisturbed, times: int) -> None:
    """Damage to records.jsonl and to the images it speaks of, in copies of runs that were killed halfway."""

    def cut(path: Path) -> None:
        os.truncate(path, bench.random.randrange(path.stat().st_size))

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[bench.random.randrange(len(data))] ^= 1 << bench.random.randrange(8)
        path.write_bytes(data)

    def strange_lines(path: Path) -> None:
        lines = path.read_bytes().split(b"\n")
        lines.insert(1, b'{"stage": "measured", "id": "../../x"}')
        lines.insert(1, b"[" * 100_000)
        path.write_bytes(b"\n".join([b"\x00\xff not json", *lines, lines[0]]))

    def changed_number(path: Path) -> None:
        data = path.read_bytes()
        place = data.find(b'"log_ratio": ') + len(b'"log_ratio": ')
        path.write_bytes(data[:place] + b"9" + data[place:])

    def delete(path: Path) -> None:
        path.unlink()

    def lost_images(path: Path) -> None:
        images = sorted((path.parent / "images").glob("*/replicas/*.png"))
        bench.random.choice(images).unlink()
        bench.random.choice(sorted((path.parent / "images").glob("*/target.png"))).write_bytes(b"")

    kinds: dict[str, Callable[[Path], None]] = {
        "records cut": cut, "a bit of the records flipped": flip, "strange lines in the records": strange_lines,
        "another number in a record": changed_number, "records deleted": delete, "images of the run lost": lost_images,
    }  # fmt: skip
    for _ in range(times):
        _, half = _half_done(bench, whole)
        for kind, change in kinds.items():
            place = bench.place("damaged")
            run = shutil.copytree(half, place / "run")
            change(run / "records.jsonl")
            _, problems = resume(bench, whole, run, place / "resumed")
            bench.compare("damage", kind, problems)


def move_run(bench: Bench, whole: Undisturbed) -> None:
    """A half-done run continues under another name and place."""
    place, run = _half_done(bench, whole)
    moved = place / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(run, moved)
    _, problems = resume(bench, whole, moved, place / "resumed")
    bench.compare("damage", "run folder moved", problems)


def jumping_clock() -> None:
    """Setup: every look at the clock of the wall is an hour off from the one before, into the past."""
    real, calls = time.time, [0]

    def jumped() -> float:
        calls[0] += 1
        return real() - 3600.0 * calls[0]

    time.time = jumped


def jump_clock(bench: Bench, whole: Undisturbed) -> None:
    """The clock runs backwards, and half the files are from the future."""
    place, run = _half_done(bench, whole)
    for number, path in enumerate(sorted(whole.targets.glob("*.png"))):
        os.utime(path, (4e9, 4e9) if number % 2 else (0, 0))
    ended = run_command(whole.arguments(bench, run), place / "resumed", jumping_clock)
    problems = visible_problems(ended, RESUMABLE) + differences(findings_of_run(run), whole.findings)
    bench.compare("damage", "a clock that jumps", problems)


def small_memory() -> None:
    """Setup: batches of more than twenty do not fit, and the device says so as the CPU's allocator does."""
    predict = UNetDenoiser.predict

    def limited(self: UNetDenoiser, noisy: torch.Tensor, *more: object) -> object:
        if len(noisy) > 20:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 1 bytes.")
        return predict(self, noisy, *more)  # type: ignore[arg-type]

    UNetDenoiser.predict = limited  # type: ignore[method-assign,assignment]


def run_out_of_memory(bench: Bench, whole: Undisturbed) -> None:
    """The device's memory holds twenty samples; batches are halved until they fit."""
    place = bench.place("memory")
    ended = run_command(whole.arguments(bench, place / "run"), place, small_memory)
    problems = visible_problems(ended, RESUMABLE)
    expected = {finding["id"]: finding["verdict"] for finding in whole.findings}
    found = {finding["id"]: finding["verdict"] for finding in findings_of_run(place / "run")}
    if found != expected:
        problems.append("other verdicts than with enough memory")
    bench.recorder.count("damage", "out of memory", "same verdicts" if found == expected else "different", problems)


def change_files_meanwhile(bench: Bench, whole: Undisturbed) -> None:
    """After the folder was read one file vanishes and one becomes another; put back, both are measured after all."""
    targets, controls = bench.portfolio()
    place = bench.place("changed")
    run = place / "run"
    again = replace(whole, targets=targets, controls=controls)
    child = again.start(bench, run, place / "first", "calibrating")
    order = [finding["sha256"] for finding in sorted(whole.findings, key=lambda finding: str(finding["sha256"]))]
    names = {finding["sha256"]: Path(finding["path"]).name for finding in whole.findings}
    vanishing, changing = (targets / names[sha256] for sha256 in order[-2:])
    kept = {path: path.read_bytes() for path in (vanishing, changing)}
    with paused(child):
        vanishing.unlink()
        changing.write_bytes(kept[vanishing])
    problems = visible_problems(child.wait(), (1, 3))
    verdicts = verdicts_of_run(run)
    skipped = {name for name, verdict in verdicts.items() if verdict == "skipped"}
    if skipped != {vanishing.name, changing.name} or len(verdicts) != IMAGES:
        problems.append(f"skipped are {sorted(skipped)} of {len(verdicts)}")
    bench.recorder.count("damage", "files vanish and change after listing", "skipped", problems)
    for path, data in kept.items():
        path.write_bytes(data)
    ended = Child(again.arguments(bench, run), place / "second").wait()
    problems = visible_problems(ended, RESUMABLE)
    expected = {Path(finding["path"]).name: finding["verdict"] for finding in whole.findings}
    if (found := verdicts_of_run(run)) != expected:
        problems.append(f"{found} instead of {expected}")
    bench.recorder.count("damage", "files are there again", "same verdicts" if not problems else "different", problems)


def stop_and_continue(bench: Bench, whole: Undisturbed) -> None:
    """A machine that sleeps: the process is held for a while and goes on."""
    place = bench.place("asleep")
    run = place / "run"
    child = whole.start(bench, run, place, "calibrating")
    with paused(child):
        time.sleep(1)
    problems = visible_problems(child.wait(), RESUMABLE) + differences(findings_of_run(run), whole.findings)
    bench.compare("damage", "held for a second", problems)
