"""What a model gave for one image: every generated image by rung, closest first, and which of them are shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.io.writing import format_csv
from imgaudit.report.redaction import csv_cell
from imgaudit.schema.findings import Finding
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE, find_copy_similarity
from imgaudit.schema.records import Measurement, Replica, Rung, RungMeasurement, Skipped
from imgaudit.schema.replication import Replication
from imgaudit.schema.text import file_name

SHOWN_CLOSEST = 6
"""Generated images of a rung that are shown as pictures, closest first; the least similar one comes on top."""


@dataclass(frozen=True)
class ShownReplica:
    """One generated image."""

    rung: Rung
    """Rung that it was generated for."""
    replica: Replica
    """The record."""
    copied: bool
    """True when it passed both copy thresholds."""
    role: str
    """Reason that it is shown, in words; empty for one that is listed only."""

    @property
    def name(self) -> str:
        """Its file name, in the run and in what is made of it."""
        return file_name(self.replica.path)


def is_copy(replica: Replica, thresholds: dict[str, float] | Skipped) -> bool:
    """Return whether a generated image passes both copy thresholds of its rung."""
    return find_copies([replica], thresholds)[0]


def find_copies(replicas: Sequence[Replica], thresholds: dict[str, float] | Skipped) -> list[bool]:
    """Return for each generated image of a rung whether it passes both copy thresholds."""
    if isinstance(thresholds, Skipped):
        return [False] * len(replicas)
    decided = CopyThresholds.model_validate(thresholds)
    return [
        not isinstance(one.similarity, Skipped)
        and not isinstance(one.distance, Skipped)
        and decided.is_copy(
            one.similarity[DECIDING_DESCRIPTOR], one.distance[DECIDING_DISTANCE], find_copy_similarity(one.similarity)
        )
        for one in replicas
    ]


def outputs_of(finding: Finding, measurement: Measurement) -> list[ShownReplica]:
    """Return every generated image by rung; the closest and the least similar of each rung have a role."""
    found: list[ShownReplica] = []
    for replication in finding.replication:
        measured = measurement.ladder(replication.rung)
        if isinstance(measured, RungMeasurement):
            found += _of_rung(replication, measured)
    return found


def _of_rung(replication: Replication, measured: RungMeasurement) -> list[ShownReplica]:
    ordered = sorted(measured.replicas, key=_similarity, reverse=True)
    last = len(measured.valid) - 1
    outputs = []
    copies = find_copies(ordered, replication.thresholds)
    for place, (replica, copied) in enumerate(zip(ordered, copies, strict=True)):
        role = ""
        if place <= last:
            role = f"closest, number {place + 1}" if place < SHOWN_CLOSEST else ""
            role = "least similar" if place == last and place else role
        outputs.append(ShownReplica(replication.rung, replica, copied, role))
    return outputs


def _similarity(replica: Replica) -> float:
    return -2.0 if isinstance(replica.similarity, Skipped) else replica.similarity[DECIDING_DESCRIPTOR]


def render_outputs_csv(outputs: Sequence[ShownReplica]) -> str:
    """Write one CSV row per generated image; no cell runs as a formula."""
    rows = [_row(output) for output in outputs]
    names = list(dict.fromkeys(key for row in rows for key in row)) or ["rung"]
    return format_csv([{key: csv_cell(value) for key, value in row.items()} for row in rows], names)


def _row(output: ShownReplica) -> dict[str, object]:
    replica = output.replica
    row: dict[str, object] = {
        "rung": output.rung.value,
        "text": replica.text + 1,
        "seed": replica.seed,
        "guidance_scale": replica.guidance_scale,
        "copy": "yes" if output.copied else "no",
        "shown": output.role,
        "file_in_run": replica.path,
    }
    if isinstance(replica.similarity, Skipped) or isinstance(replica.distance, Skipped):
        invalid = replica.similarity if isinstance(replica.similarity, Skipped) else replica.distance
        return row | {"not_scored": invalid}
    row |= {f"similarity_{name}": value for name, value in replica.similarity.items()}
    row |= {f"distance_{name}": value for name, value in replica.distance.items()}
    if replica.part:
        row |= {f"part_{name}": getattr(replica.part, name) for name in ("geometric", "photometric", "area")}
    return row
