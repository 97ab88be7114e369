"""How often a rung returned an image, or a part of it: counts, intervals, and whether that stands."""

from pydantic import Field

from imgaudit.schema.error_checks import NOT_IN_PARTS
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.records import Count, PartMatch, Rung, Skipped


class StreamRate(Count):
    """Copies that remain when the embedding keeps some of its text streams only, on seeds that gave copies before.

    n counts those seeds. The interval describes their embedding and estimates no rate of others.
    """

    streams: tuple[str, ...]
    """Streams kept as they were inverted; none where all were put back."""
    log_ratio: float | Skipped
    """Mean log(baseline's error / error) under this condition, on the score's draws."""


class PartReplication(Count):
    """The rate at which the images generated for a rung contain at least a part of the image.

    Hits have both legs above their thresholds.
    """

    closest: PartMatch
    """Comparison of the generated image that is closest in parts, over all seeds and scales."""
    path: str
    """Its file inside the run folder."""
    seed: int
    """Seed of its initial noise."""
    p_value: float | Skipped
    """The larger of both legs' conformal p-values, of the closest image against the controls' closest."""
    q_value: float | Skipped
    """q-value of the image's test, in which parts count as well."""
    stands: bool
    """True when the rung returns a part beyond what the controls give."""
    alone: bool
    """True when a part is all that came back: there is no copy of the whole, or every one has both legs above their
    thresholds, and is no closer than copies must be outside of where it agrees."""
    thresholds: PairThresholds | Skipped
    """Thresholds that both legs had to exceed, from the controls."""
    control_rate: float | Skipped
    """Mean rate among controls at the same thresholds."""
    whole: int = Field(0, exclude_if=lambda value: not value)
    """Hits that show the whole image: mirrored, moved, enlarged or cropped; 0 in reports of older versions."""


class Replication(Count):
    """The rate at which a rung reproduced the image."""

    rung: Rung
    """The rung."""
    invalid: int
    """Seeds whose frame could not be scored."""
    at_least_a_part: bool = Field(False, exclude_if=lambda value: not value)
    """True when the copy descriptor alone tells every copy, although pixels have a say too, and no image is
    near-identical. Such copies show the image or a part of it: the descriptor does not tell which."""
    near_identical: int = 0
    """Generated images, over all seeds and scales, that are near-identical to the target by an absolute standard:
    similarity above 0.9, and no tile further than 0.15. Controls have no part in it; 0 where it was not counted."""
    by_descriptor: int = Field(0, exclude_if=lambda value: not value)
    """Copies that the copy descriptor alone finds: their pixels do not pass."""
    rate: float
    """hits / n."""
    confidence: float
    """0.95, or 0.975 when some seeds chose the guidance scale and others gave the rate."""
    upper_bound: float
    """One-sided upper bound, at `confidence`."""
    guidance_scale: float
    """The scale that the rate holds for."""
    best_similarity: float
    """Maximum over seeds and scales of the deciding descriptor."""
    p_value: float | Skipped
    """Conformal p-value of the best similarity against the controls' best, by pixels and copy descriptor together where
    both have a part; corrected for texts beyond the controls' number of texts (Bonferroni)."""
    coincidence_p_value: float | Skipped
    """Against the same generations compared with every other target and decoy; a floor of the p-value, because a
    caption makes images resemble their own target without memorisation. Text rungs only."""
    q_value: float | Skipped
    """Coincidence p-value, or the other one without images to compare with, corrected for the image's text rungs
    (Bonferroni) and over the folder. Text rungs only: it is needed where no controls are."""
    stands: bool
    """True when the rung reproduces the image beyond coincidence, framing and forcing."""
    thresholds: dict[str, float] | Skipped
    """Thresholds that a seed had to exceed (similarity) or stay below (distance), from the controls."""
    control_rate: float | Skipped
    """Mean rate among controls at the same thresholds."""
    null_rung: Rung | Skipped
    """The rung of the controls that this one is compared with: its own, or the next one up that they have."""
    stream_rates: tuple[StreamRate, ...] = Field((), exclude_if=lambda value: not value)
    """Copies by text stream: with all streams first, then with parts; empty where no part was asked."""
    part: PartReplication | Skipped = NOT_IN_PARTS
    """The rate at which at least a part of the image came back."""

    @property
    def part_stands(self) -> bool:
        """True when a part came back beyond what the controls give."""
        return isinstance(self.part, PartReplication) and self.part.stands

    @property
    def moved_stands(self) -> bool:
        """True when at least half of the parts that came back are the whole image, mirrored, moved or cropped."""
        part = self.part
        return isinstance(part, PartReplication) and part.stands and part.whole > 0 and 2 * part.whole >= part.hits

    @property
    def whole_stands(self) -> bool:
        """True when the rung reproduces the image, and not a part of it alone."""
        if self.moved_stands:
            return True
        alone = isinstance(self.part, PartReplication) and self.part.stands and self.part.alone
        return self.stands and not self.at_least_a_part and not alone

    @property
    def partly_stands(self) -> bool:
        """True when the rung reproduces at least a part of the image: told by parts, or by the copy descriptor."""
        return self.part_stands or (self.stands and self.at_least_a_part)
