"""Charts as small SVG files: text, no script, the same run gives the same bytes.

Written as templates, not drawn: a report of 10,000 images has 20,000 of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jinja2
import numpy as np
from matplotlib.ticker import MaxNLocator

from imgaudit.calibration import NullBank
from imgaudit.records import ErrorMeasurement
from imgaudit.statistics import exceedance_threshold

WIDTH, HEIGHT = 520, 260
"""Of a chart, in its own units; a page scales it."""

LEFT, RIGHT, TOP, BOTTOM = 52, 12, 34, 44
"""Margins."""

BINS = 30
"""Of a histogram."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """From values to places along one side."""

    low: float
    high: float
    start: float
    """Where `low` lies."""
    stop: float
    """Where `high` lies."""

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of round values inside."""
        # From the smallest on: a histogram starts at nought and a score's range rarely does.
        values = [value for value in MaxNLocator(5).tick_values(self.low, self.high) if self.low <= value <= self.high]
        return [(self(float(value)), f"{value + 0.0:.10g}") for value in values]


@dataclass
class Chart:
    """What the template draws, in the chart's own units."""

    title: str
    x_label: str
    y_label: str
    x: Scale
    y: Scale
    bars: list[tuple[float, float, float, float, str]] = field(default_factory=list)
    """x, y, width, height, class."""
    band: list[Point] = field(default_factory=list)
    lines: list[tuple[list[Point], str]] = field(default_factory=list)
    """Points and class."""
    marks: list[tuple[float, str]] = field(default_factory=list)
    """Vertical lines: place and class."""
    legend: list[tuple[str, str]] = field(default_factory=list)
    """Class and text."""


def axes(x: tuple[float, float], y: tuple[float, float]) -> tuple[Scale, Scale]:
    """Scales of a chart; a range without width gets one."""
    (x_low, x_high), (y_low, y_high) = (_widened(*one) for one in (x, y))
    return Scale(x_low, x_high, LEFT, WIDTH - RIGHT), Scale(y_low, y_high, HEIGHT - BOTTOM, TOP)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high - low > 1e-12 else (low - 0.5, high + 0.5)


class Charts:
    """The charts of one run: what all images share is computed once."""

    def __init__(self, environment: jinja2.Environment, bank: NullBank | None, level: float) -> None:
        self._template = environment.get_template("chart.svg.jinja")
        self.level = level
        self.bank = bank if bank is not None and bank.controls else None
        self.scores = bank.scores() if self.bank and bank else []
        self.threshold = exceedance_threshold(self.scores, level)
        self._bands: dict[int, tuple[int, list[list[float]]] | None] = {}

    def null_distribution(self, score: float) -> str:
        """Histogram of the controls' scores with the image's marked."""
        counts, edges = np.histogram(self.scores, bins=BINS)
        x, y = axes((min(score, *self.scores), max(score, *self.scores)), (0.0, 1.05 * float(counts.max(initial=1))))
        chart = Chart(
            f"Scores of {len(self.scores)} controls; this image has {score:.3f}",
            "score: log(null error / inverted error), adjusted for complexity", "controls", x, y,
        )  # fmt: skip
        self._histogram(chart, counts.tolist(), edges.tolist(), "control")
        self._mark_threshold(chart)
        chart.marks.append((x(score), "target"))
        chart.legend = [
            ("control", f"{len(self.scores)} controls"),
            ("target", f"this image: {score:.3f}"),
            *chart.legend,
        ]
        return self._draw(chart)

    def error_curve(self, error: ErrorMeasurement) -> str:
        """How much better the embedding predicts an image than the null condition, with the controls' band."""
        points = [point for point in error.by_timestep if point.conditional > 0 and point.null > 0]
        times = [point.timestep for point in points]
        ratios = [float(np.log(point.null / point.conditional)) for point in points]
        band = self._band(len(times))
        spread = [*ratios, 0.0, *(value for curve in (band[1] if band else []) for value in curve)]
        x, y = axes((min(times, default=0.0), max(times, default=1.0)), (min(spread), max(spread)))
        chart = Chart(
            "Error ratio by timestep", "timestep (right: more noise)", "log(null error / inverted error)", x, y
        )
        chart.lines.append(([(x.start, y(0.0)), (x.stop, y(0.0))], "zero"))
        if band:
            count, (low, middle, high) = band
            upper = [(x(time), y(value)) for time, value in zip(times, high, strict=True)]
            lower = [(x(time), y(value)) for time, value in zip(times, low, strict=True)]
            chart.band = [*upper, *reversed(lower)]
            chart.lines.append(([(x(time), y(value)) for time, value in zip(times, middle, strict=True)], "median"))
            chart.legend += [("control", f"{count} controls, 5 % to 95 %"), ("median", "their median")]
        chart.lines.append(([(x(time), y(value)) for time, value in zip(times, ratios, strict=True)], "target"))
        chart.legend.append(("target", "this image"))
        return self._draw(chart)

    def overview(self, scores: Sequence[float]) -> str:
        """All targets' scores beside the controls', each as shares of their own number."""
        everything = [*self.scores, *scores]
        edges = np.linspace(min(everything), max(everything), BINS + 1)
        shares = [np.histogram(values, bins=edges)[0] / max(1, len(values)) for values in (self.scores, scores)]
        x, y = axes((float(edges[0]), float(edges[-1])), (0.0, 1.05 * float(max(share.max() for share in shares))))
        chart = Chart(
            f"Scores of {len(scores)} images audited beside {len(self.scores)} controls",
            "score (higher: more memorised)", "share of each group", x, y,
        )  # fmt: skip
        for share, name in zip(shares, ("control", "target"), strict=True):
            self._histogram(chart, share.tolist(), edges.tolist(), name)
        self._mark_threshold(chart)
        groups = [("control", f"{len(self.scores)} controls"), ("target", f"{len(scores)} images audited")]
        chart.legend = [*groups, *chart.legend]
        return self._draw(chart)

    def _band(self, points: int) -> tuple[int, list[list[float]]] | None:
        """How many controls have a curve of as many points, and its 5 %, 50 % and 95 % quantiles; None without any."""
        if points not in self._bands:
            curves = [
                [float(np.log(p.null / p.conditional)) for p in control.by_timestep]
                for control in (self.bank.controls if self.bank else [])
                if len(control.by_timestep) == points
            ]
            quantiles = np.quantile(np.array(curves), [0.05, 0.5, 0.95], axis=0).tolist() if curves and points else []
            self._bands[points] = (len(curves), quantiles) if quantiles else None
        return self._bands[points]

    @staticmethod
    def _histogram(chart: Chart, heights: Sequence[float], edges: Sequence[float], name: str) -> None:
        base = chart.y(0.0)
        for height, low, high in zip(heights, edges[:-1], edges[1:], strict=True):
            if height:
                top = chart.y(height)
                chart.bars.append((chart.x(low), top, max(1.0, chart.x(high) - chart.x(low) - 1), base - top, name))

    def _mark_threshold(self, chart: Chart) -> None:
        if np.isfinite(self.threshold):
            chart.marks.append((chart.x(self.threshold), "level"))
            chart.legend.append(("level", f"p = {self.level:g}"))

    def _draw(self, chart: Chart) -> str:
        frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP}
        return self._template.render(chart=chart, bottom=HEIGHT - BOTTOM, **frame)
