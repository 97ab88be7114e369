"""The pictures that a replay generates again: drawn by a seed that the recipient of a run chooses."""

from collections.abc import Iterator
from dataclasses import dataclass

from imgaudit.diffusion.seeds import draw_seed
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.records import Measurement, Replica, Rung, RungMeasurement, Skipped
from imgaudit.schema.replication import PartReplication, Replication

CLAIMS = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION, Verdict.PARTIAL)
"""Verdicts that say that a picture, or a part of it, was reproduced."""


@dataclass(frozen=True)
class Exhibit:
    """One generated picture of a run, and what was concluded from its rung."""

    finding: Finding
    """The finding on its target."""
    measurement: Measurement
    """The record of its target."""
    rung: Rung
    """The rung it came from."""
    replica: Replica
    """The record of the picture."""
    claimed: bool
    """True when the finding says that its target was reproduced, and this is the picture that shows it best."""

    @property
    def measured(self) -> RungMeasurement:
        """The record of its rung."""
        measured = self.measurement.ladder(self.rung)
        assert isinstance(measured, RungMeasurement)
        return measured

    @property
    def replication(self) -> Replication | None:
        """What the finding says of its rung; None where it says nothing."""
        return next((one for one in self.finding.replication if one.rung is self.rung), None)

    @property
    def is_part(self) -> bool:
        """True when the finding says that a part of the target was reproduced, and this picture shows it."""
        return self.claimed and self.finding.verdict is Verdict.PARTIAL


@dataclass(frozen=True)
class Draw:
    """Pictures of a run that were drawn."""

    exhibits: list[Exhibit]
    """The drawn pictures, in their order."""
    claims: int
    """Findings that say that something was reproduced, and have a picture."""
    pictures: int
    """Generated pictures in the run."""


def draw_exhibits(run: FinishedRun, count: int | None, seed: int) -> Draw:
    """Draw generated pictures of a run, without replacement.

    First comes one picture for every finding that says that its target was reproduced: the one that is most similar to
    it, of the rung that the finding names. With fewer pictures than such findings, the seed decides which. Then come
    pictures of all findings alike, whatever their verdict, each with the same chance: a run could also hide copies.

    Pictures are ordered by `draw_seed(seed, path, "replay")`, which anyone can compute from the run and the seed.

    count:  number of pictures; None for all
    """
    claimed = [one for one in (_strongest(run, finding) for finding in run.result.findings) if one is not None]
    taken = {one.replica.path for one in claimed}
    pictures = list(_list_pictures(run))
    others = [one for one in pictures if one.replica.path not in taken]
    ordered = [one for group in (claimed, others) for one in sorted(group, key=lambda one: _place(one, seed))]
    return Draw(ordered[:count], len(claimed), len(pictures))


def _place(exhibit: Exhibit, seed: int) -> tuple[int, str]:
    return draw_seed(seed, exhibit.replica.path, "replay"), exhibit.replica.path


def _list_pictures(run: FinishedRun) -> Iterator[Exhibit]:
    for finding in run.result.findings:
        measurement = run.measurements.get(finding.id)
        if measurement is None:
            continue
        for rung, measured in measurement.rungs.items():
            if isinstance(measured, RungMeasurement):
                for replica in measured.replicas:
                    yield Exhibit(finding, measurement, rung, replica, claimed=False)


def _strongest(run: FinishedRun, finding: Finding) -> Exhibit | None:
    """Return the picture that shows best what a finding claims; None for a finding that claims nothing."""
    measurement = run.measurements.get(finding.id)
    if finding.verdict not in CLAIMS or measurement is None or isinstance(finding.rung, Skipped):
        return None
    measured = measurement.ladder(finding.rung)
    if not isinstance(measured, RungMeasurement) or not measured.valid:
        return None
    best = max(measured.valid, key=lambda one: _similarity(one))
    if finding.verdict is Verdict.PARTIAL:
        replication = next((one for one in finding.replication if one.rung is finding.rung), None)
        if replication is not None and isinstance(replication.part, PartReplication):
            shown = replication.part.path
            best = next((one for one in measured.replicas if one.path == shown), best)
    return Exhibit(finding, measurement, finding.rung, best, claimed=True)


def _similarity(replica: Replica) -> float:
    return -1.0 if isinstance(replica.similarity, Skipped) else replica.similarity[DECIDING_DESCRIPTOR]
