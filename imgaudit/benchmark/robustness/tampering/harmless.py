"""Copies of a finished run that nobody edited: none of them may be refused."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from imgaudit.report.review import DecisionLedger, ReviewDecision, read_reviewed_run

REVIEWERS = ("Reviewer One", "Reviewer Two", "Reviewer Three")
"""Names under which decisions are made on the run that is edited."""


def decide(run: Path, reviewers: tuple[str, ...], day: int = 4) -> None:
    """Append a decision of each reviewer on the first images of a run, as `imgaudit review import` does."""
    reviewed = read_reviewed_run(run)
    ledger = DecisionLedger(reviewed.folder, reviewed.run_id)
    findings = sorted(reviewed.images.values(), key=lambda finding: finding.id)
    ledger.append(
        [
            ReviewDecision.model_validate(
                {
                    "run_id": reviewed.run_id, "image_id": finding.id, "sha256": finding.sha256,
                    "result_sha256": reviewed.result_sha256, "decision": "dispute" if place else "accept",
                    "replication_level": place, "comment": "As I see it.", "reviewer": reviewer,
                    "made": f"2026-05-{day:02}T10:20:30Z", "machine_verdict": finding.verdict.value,
                    "source": "file", "version": "0.1.0",
                }
            )
            for place, (finding, reviewer) in enumerate(zip(findings, reviewers, strict=False))
        ]
    )  # fmt: skip


def _leave(run: Path) -> Path:
    return run


def _move(run: Path) -> Path:
    moved = run.with_name("another name, moved")
    run.rename(moved)
    return moved


def _other_times(run: Path) -> Path:
    for path in run.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return run


def _read_only(run: Path) -> Path:
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return run


def _owner_only(run: Path) -> Path:
    for path in (run, *run.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return run


def _packed(run: Path) -> Path:
    archive = shutil.make_archive(str(run.with_name("packed")), "zip", run)
    unpacked = run.with_name("unpacked")
    shutil.unpack_archive(archive, unpacked)
    return unpacked


def _behind_a_link(run: Path) -> Path:
    link = run.with_name("link to the run")
    link.symlink_to(run, target_is_directory=True)
    return link


def _reviewed(run: Path) -> Path:
    decide(run, ("Reviewer Four",), day=5)
    return run


def _killed_review(run: Path) -> Path:
    """Leave half a line, as a kill would while a decision is saved, and decide again."""
    path = run / "review" / "decisions.jsonl"
    content = path.read_bytes()
    path.write_bytes(content + content[:50])
    decide(run, ("Reviewer Five",), day=6)
    return run


def _unlocked(run: Path) -> Path:
    for lock in run.rglob(".lock"):
        lock.unlink()
    return run


HARMLESS: dict[str, Callable[[Path], Path]] = {
    "untouched": _leave,
    "moved and renamed": _move,
    "other times of all files": _other_times,
    "read-only": _read_only,
    "for its owner alone": _owner_only,
    "packed and unpacked": _packed,
    "reached through a link": _behind_a_link,
    "reviewed after it was finished": _reviewed,
    "a decision cut by a kill": _killed_review,
    "lock files removed": _unlocked,
}
"""What happens to an honest copy; each returns the folder to check."""
