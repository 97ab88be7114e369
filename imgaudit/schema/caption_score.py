"""The score under an image's own caption, as a finding holds it."""

from imgaudit.schema.records import Record, Skipped


class CaptionScore(Record):
    """The score under the image's own caption; it decides only as a part of the image's test."""

    log_ratio: float
    """Mean over draws of log(baseline's error / error under the caption); higher = more memorised."""
    score: float | Skipped
    """Log ratio, residualised on complexity; higher = more memorised."""
    p_value: float | Skipped
    """Conformal p-value of this score alone, against the controls' under their captions. No verdict rests on it."""
    controls: int
    """Number of controls with such a score that it is compared with."""
