"""The dial of one image, as dial.json keeps it: what its embedding can lose and still reproduce it."""

from imgaudit.schema.records import Record


class DialPoint(Record):
    """One setting of the dial."""

    rank: int
    """Rank of the difference from the start condition."""
    precision: int
    """Bits per number of its factors."""
    bits: int
    """Bits of all of them, scales included."""
    hits: int
    """Seeds that made a copy."""
    n: int
    """Seeds that could be scored."""
    best_similarity: float
    """Highest similarity of the deciding descriptor; -1 when no frame could be scored."""


class Dial(Record):
    """dial.json: what an image's embedding can lose."""

    guidance_scale: float
    """Scale at which it was sampled: that of the embedding rung."""
    seeds: int
    """Images asked for at each setting."""
    thresholds: dict[str, float]
    """Thresholds at which a generated image counts as a copy, by name."""
    whole: DialPoint
    """The embedding as it was inverted, 32 bits a number; rank and precision as stored."""
    image_bits: int
    """Bits of the image at the model's size, as PNG; a lossy copy could be coded in fewer."""
    points: list[DialPoint]
    """Settings tried, fewest bits first; the last one that was tried is the first that reproduces the image."""

    @property
    def fewest(self) -> DialPoint | None:
        """The setting with the fewest bits whose copies are at least half of the seeds."""
        return next((point for point in self.points if reproduces(point)), None)


def reproduces(point: DialPoint) -> bool:
    """Tell whether at least half of the seeds are copies."""
    return point.n > 0 and 2 * point.hits >= point.n
