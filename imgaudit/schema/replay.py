"""What a replay found: pictures of a run that were generated again, and how far they are from the recorded ones."""

from pydantic import Field

from imgaudit.schema.records import REPLICA_PATH, Record, Rung, Skipped


class ReplayTolerance(Record):
    """The largest differences that two machines may cause between a recorded picture and the same one made again."""

    largest: float
    """Largest difference of one colour value of one pixel, in levels of 0 to 255."""
    mean: float
    """Mean difference over the picture, in the same levels."""
    similarity: float
    """Difference of the deciding similarity to the target."""
    distance: float
    """Difference of the deciding distance to the target."""
    source: str
    """What the numbers come from, in words."""


class ReplayedPicture(Record):
    """One picture of a run, generated again on this machine."""

    path: str = Field(pattern=REPLICA_PATH)
    """File of the recorded picture inside the run folder."""
    target: str
    """Path of the target, as text."""
    rung: Rung
    """Rung it came from."""
    seed: int
    """Seed of its initial noise."""
    guidance_scale: float
    """Guidance it was sampled with."""
    claimed: bool
    """True when a finding says that the target was reproduced, and this is the picture that shows it best."""
    largest: float | Skipped
    """Largest difference between the two pictures, in levels of 0 to 255; Skipped where none could be compared."""
    mean: float | Skipped
    """Mean difference, in the same levels."""
    rendering: float | Skipped
    """Mean difference between rendered.png and the target as this machine's copy of the model renders it."""
    similarity: tuple[float, float] | Skipped
    """Deciding similarity to rendered.png: of the recorded picture, and of the one generated again."""
    distance: tuple[float, float] | Skipped
    """Deciding distance, likewise."""
    decided: tuple[bool, bool] | Skipped
    """Whether the recorded picture is a copy under the run's thresholds, and whether the one generated again is; of the
    target's part where the finding is of a part. Skipped where the run has no thresholds."""
    problems: tuple[str, ...] = ()
    """Mismatches beyond the tolerance, in words."""


class Replay(Record):
    """The pictures of a run that were generated again."""

    seed: int
    """Seed of the draw."""
    claims: int
    """Findings that say that something was reproduced."""
    pictures: int
    """Generated pictures in the run, from which the draw was made."""
    machine: tuple[str, ...]
    """Device, precision, batch size and versions, each as recorded in the run and as they are here."""
    tolerance: ReplayTolerance
    """What counted as the same picture."""
    replayed: tuple[ReplayedPicture, ...]
    """The drawn pictures, in the order of the draw."""
