"""Options of the benchmark of sets. Light, so that help is shown without loading torch."""

from pathlib import Path

from pydantic import Field

from imgaudit.benchmark.settings import Seeded


class SetSettings(Seeded):
    """Count how often sets of a lab's images are told from controls, for images never trained on and for others."""

    table: Path = Field(description="Table from `benchmark searches --save`, or folder of such tables.")
    detection: Path | None = Field(
        None,
        description="Table from `benchmark detection --save` for one of these labs: what is seen of its images without "
        "the model, for sets that are unlike the controls to begin with.",
    )
    other: Path | None = Field(
        None, description="With --detection: table from `benchmark controls`, of controls from another source."
    )
