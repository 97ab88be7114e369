"""What a statement on one image is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imgaudit.report.audit.outputs import ShownReplica
from imgaudit.report.complaint.blocks import (
    PictureBlock,
)
from imgaudit.report.redaction import without_folders
from imgaudit.report.review import ReviewDecision
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.findings import Finding
from imgaudit.schema.records import Measurement, Skipped
from imgaudit.schema.text import file_name


@dataclass(frozen=True)
class ComplaintMaterial:
    """Everything that a statement on one image is made from."""

    run: FinishedRun
    """The run."""
    finding: Finding
    """Conclusion on the image."""
    measurement: Measurement | None
    """Measurement of the image; None when the record is lost."""
    outputs: Sequence[ShownReplica]
    """Every generated image."""
    pictures: Mapping[str, str]
    """Files of the package by their path in the run, for pictures that could be read."""
    examined: str
    """File of the package that marks the examined part on the owner's picture; empty where that is all of it."""
    regions: Sequence[PictureBlock]
    """Pictures that show which part was returned."""
    decisions: Sequence[ReviewDecision]
    """The newest decision of each reviewer on the image."""
    digests: Mapping[str, str]
    """SHA-256 of the run's manifest.json and report.json, and the head of its evidence where there is one."""
    folders: Sequence[str]
    """Folders whose names are removed."""

    @property
    def work(self) -> str:
        """The work's file name."""
        return file_name(self.finding.path)

    def named(self, text: str) -> str:
        """Return a text of the run without folders."""
        return str(without_folders(text, self.folders))


def model_name(material: ComplaintMaterial) -> str:
    """Return the model's name without folders."""
    return material.named(material.run.manifest.model.name)


def number_text(value: float | Skipped) -> str:
    """Return a number with three digits, or why it was not measured."""
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else f"{value:.3g}"


def percent_text(value: float | Skipped) -> str:
    """Return a share as a percentage, or why it was not measured."""
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else f"{value:.1%}"
