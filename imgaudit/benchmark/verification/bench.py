"""How long the verification of a large run takes beside the audit itself, and how much memory."""

import math
import shutil
from collections.abc import Iterator
from statistics import mean, stdev

from scipy.stats import t

from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import VerificationSettings
from imgaudit.benchmark.verification.enlarged_run import enlarge_run
from imgaudit.benchmark.verification.stage import Verified, verify_in_process
from imgaudit.exceptions import InputError
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.text import wrap_prose

MEMORY_GOAL = 2**30
"""Bytes that verification may have at most."""

TIME_GOAL = 1 / 20
"""Largest share of the time in which the audit measured the images."""


class VerificationTable(Table):
    """Verification of one large run."""

    machine: str
    """Where it ran."""
    images: int
    """Number of images in the run."""
    audit_seconds: list[float]
    """Wall time of measuring each image of the run that was enlarged, as its records say."""
    verified: list[Verified]
    """One per repeat."""

    @property
    def audit_time(self) -> tuple[float, float, float]:
        """Seconds in which the audit would measure all images, with the ends of the 95 % interval of the mean."""
        average, half = mean(self.audit_seconds), 0.0
        if (n := len(self.audit_seconds)) > 1:
            half = float(t.ppf(0.975, n - 1)) * stdev(self.audit_seconds) / math.sqrt(n)
        return self.images * average, self.images * max(0.0, average - half), self.images * (average + half)


def measure_verification(settings: VerificationSettings, on_stage: OnStage) -> VerificationTable:
    """Enlarge a run and verify it, each time in a process of its own.

    Raises InputError without a run to enlarge.
    """
    if settings.run is None:
        raise InputError("--run is needed: a finished run, such as imgaudit demo makes")
    folder = settings.out / f"verification-{settings.count}"
    if not (folder / "evidence.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        enlarge_run(settings.run, folder, settings.count, lambda done, total: on_stage("enlarging", done, total))
    measurements, _ = RunFolder(settings.run).read_measurements()
    verified = []
    for number in range(settings.repeats):
        verified.append(verify_in_process(folder))
        on_stage("verifying", number + 1, settings.repeats)
    return VerificationTable(
        machine=describe_machine(), images=settings.count, verified=verified,
        audit_seconds=[one.seconds for one in measurements],
    )  # fmt: skip


def format_verification(table: VerificationTable) -> Iterator[str]:
    """Format time and memory side by side with their goals."""
    longest = max(one.seconds for one in table.verified)
    average, low, high = table.audit_time
    peak, imported = max(one.peak for one in table.verified), max(one.imported for one in table.verified)
    yield f"{table.machine}, {table.images:,} images, {table.verified[0].files:,} files"
    yield from _format_line(
        f"audit:    {average:,.0f} s to measure the images ({low:,.0f} to {high:,.0f}: 95 % interval of the mean over "
        f"{len(table.audit_seconds)} images)"
    )
    busiest = max(one.cpu_seconds for one in table.verified)
    yield from _format_line(
        f"verify:   {longest:,.0f} s, the longest of {len(table.verified)}, with {busiest:,.0f} s of processor time: "
        f"1/{average / longest:.1f} of the audit (1/{low / longest:.1f} to 1/{high / longest:.1f})"
    )
    yield f"memory:   {peak / 2**20:,.0f} MiB at most, of which {imported / 2**20:,.0f} MiB are imports"
    problems = max(one.problems for one in table.verified)
    yield f"problems: {problems} were found in a run that is sound"
    yield from format_goals([
        # The lower end of the audit's time makes the largest share.
        Goal.exact("time of verification", "at most 1/20 of the audit", f"at most 1/{low / longest:.1f}",
                   met=longest <= TIME_GOAL * low),
        Goal.exact("peak memory", f"at most {MEMORY_GOAL / 2**20:,.0f} MiB", f"{peak / 2**20:,.0f} MiB",
                   met=peak <= MEMORY_GOAL),
        Goal.exact("problems in a sound run", "0", str(problems), met=problems == 0),
    ])  # fmt: skip


def _format_line(text: str) -> list[str]:
    return wrap_prose(text, " " * len("problems: "))


PROCEDURE = report_procedure(VerificationTable, measure_verification, format_verification)
