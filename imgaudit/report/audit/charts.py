"""The charts of a run: a histogram of the controls with the image marked, error curves with the controls' band, and all
images beside the controls.

A report of 10,000 images has 20,000 of them, so what is the same for all is computed once.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import log

import numpy as np

from imgaudit.decision.null_bank import NullBank
from imgaudit.report.svg import Scale, band, bars, document, frame, horizontal, legend, line, mark, vertical
from imgaudit.schema.protocol import Search
from imgaudit.schema.records import ErrorCurvePoint, ErrorMeasurement
from imgaudit.schema.score_search import CHART_WORDING
from imgaudit.statistics import exceedance_threshold

BINS = 30
"""Number of bins of a histogram."""

Band = tuple[int, list[list[float]]]
"""Number of controls, and their 5 %, 50 % and 95 % quantiles at every timestep."""


class Charts:
    """The charts of one run as SVG text."""

    def __init__(self, bank: NullBank | None, level: float, search: Search = Search.INVERSION) -> None:
        self.bank = bank if bank is not None and bank.controls else None
        self._level = level
        self._found = CHART_WORDING[search]
        self._scores = sorted(self.bank.scores()) if self.bank else []
        self._baseline = "".join(self.bank.baselines) if self.bank else ""
        self._threshold = exceedance_threshold(self._scores, level)
        self._bands: dict[int, Band | None] = {}
        self._histograms: dict[tuple[float, float], tuple[Scale, str]] = {}

    @property
    def count(self) -> int:
        """Controls that have a score."""
        return len(self._scores)

    def null_distribution(self, score: float) -> str:
        """Draw a histogram of the controls' scores that marks this image's score and the score at the level."""
        x, drawn = self._histogram(min(score, self._scores[0]), max(score, self._scores[-1]))
        above = self.count - bisect_left(self._scores, score)
        entries = [("control", f"{self.count} controls that count"), ("line-target", f"this image: {score:.3f}")]
        entries += self._level_entry()
        said = f"This image has the score {score:.3f}. {above} of {self.count} controls that count reach it or more."
        return document(
            f"Scores of the {self.count} controls that count, with this image's", said + self._level_text(),
            [drawn, self._level_mark(x), mark(x(score), "target"), legend(entries)],
        )  # fmt: skip

    def error_curve(self, error: ErrorMeasurement) -> str:
        """Draw how much better what was found predicts the image than the baseline, with the controls' band."""
        points = [point for point in error.by_timestep if point.conditional > 0 and point.null > 0]
        times = [point.timestep for point in points]
        ratios = [_log_ratio(point) for point in points]
        quantiles = self._band(len(times))
        spread = [0.0, *ratios, *(value for curve in (quantiles[1] if quantiles else []) for value in curve)]
        x, y = horizontal(min(times, default=0.0), max(times, default=1.0)), vertical(min(spread), max(spread))

        def places(values: Sequence[float]) -> list[tuple[float, float]]:
            return [(x(time), y(value)) for time, value in zip(times, values, strict=True)]

        parts = [frame(x, y, "timestep (right: more noise)", f"log({error.baseline} error / {self._found})")]
        parts.append(line([(x.start, y(0.0)), (x.stop, y(0.0))], "zero"))
        entries = []
        if quantiles:
            count, (low, middle, high) = quantiles
            parts += [band(places(high), places(low)), line(places(middle), "control")]
            entries += [("band", f"middle 90 % of {count} controls"), ("line-control", "their median")]
        parts += [line(places(ratios), "target"), legend([*entries, ("line-target", "this image")])]
        best = max(zip(ratios, times, strict=True), default=(0.0, 0.0))
        return document(
            "Log ratio of errors by timestep",
            f"Mean over all draws {error.log_ratio:.3f}; highest at timestep {best[1]:.0f}, with {best[0]:.3f}.", parts,
        )  # fmt: skip

    def overview(self, scores: Sequence[float]) -> str:
        """Draw the scores of all images beside the controls', each as shares of their own number."""
        everything = [*self._scores, *scores]
        edges = np.linspace(min(everything), max(everything), BINS + 1)
        shares = [np.histogram(values, bins=edges)[0] / max(1, len(values)) for values in (self._scores, scores)]
        x = horizontal(float(edges[0]), float(edges[-1]))
        y = vertical(0.0, 1.05 * float(max(share.max() for share in shares)))
        parts = [frame(x, y, "score (higher: less like the controls)", "share of each group")]
        for part, (share, kind) in enumerate(zip(shares, ("control", "target"), strict=True), start=1):
            parts.append(bars(x, y, edges.tolist(), share.tolist(), kind, part=part))
        entries = [
            ("control", f"{self.count} controls that count"),
            ("target", f"{len(scores)} images"),
            *self._level_entry(),
        ]
        above = sum(score > self._threshold for score in scores)
        return document(
            "Scores of the audited images beside the controls'",
            f"{above} of {len(scores)} images score above what p = {self._level:g} needs.",
            [*parts, self._level_mark(x), legend(entries)],
        )

    def _histogram(self, low: float, high: float) -> tuple[Scale, str]:
        """Draw the controls and both axes once for all images whose scores lie within the controls' range."""
        if (low, high) not in self._histograms:
            counts, edges = np.histogram(self._scores, bins=BINS)
            x, y = horizontal(low, high), vertical(0.0, 1.05 * float(counts.max(initial=1)))
            label = f"score: log({self._baseline} error / {self._found}), adjusted for complexity"
            drawn = frame(x, y, label, "controls") + "\n" + bars(x, y, edges.tolist(), counts.tolist(), "control")
            if (low, high) != (self._scores[0], self._scores[-1]):
                return x, drawn
            self._histograms[low, high] = (x, drawn)
        return self._histograms[low, high]

    def _band(self, points: int) -> Band | None:
        """Return the band of the controls that have a curve of as many points; None without any."""
        if points not in self._bands:
            curves = [
                [_log_ratio(point) for point in control.by_timestep]
                for control in (self.bank.controls if self.bank else [])
                if len(control.by_timestep) == points
                and all(point.conditional > 0 and point.null > 0 for point in control.by_timestep)
            ]
            quantiles = np.quantile(np.array(curves), [0.05, 0.5, 0.95], axis=0).tolist() if curves and points else []
            self._bands[points] = (len(curves), quantiles) if quantiles else None
        return self._bands[points]

    def _level_mark(self, x: Scale) -> str:
        return mark(x(self._threshold), "level") if np.isfinite(self._threshold) else ""

    def _level_entry(self) -> list[tuple[str, str]]:
        return [("line-level", f"p = {self._level:g}")] if np.isfinite(self._threshold) else []

    def _level_text(self) -> str:
        if not np.isfinite(self._threshold):
            return f" So few controls allow no p-value of {self._level:g}."
        return f" Scores above {self._threshold:.3f} have p at or below {self._level:g}."


def _log_ratio(point: ErrorCurvePoint) -> float:
    return log(point.null / point.conditional)
