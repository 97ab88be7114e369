"""Figures as SVG files: the same run gives the same bytes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imgaudit.calibration import NullBank
from imgaudit.records import ErrorMeasurement
from imgaudit.statistics import exceedance_threshold

STYLE = {
    "svg.hashsalt": "imgaudit",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
CONTROL, TARGET = "#7a869a", "#c2410c"


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _axes(width: float = 5.2, height: float = 2.5) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def draw_null_distribution(bank: NullBank, score: float, level: float, path: Path) -> None:
    """Histogram of the controls' scores with the target's marked."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _axes()
        scores = bank.scores()
        axes.hist(scores, bins=30, color=CONTROL, label=f"{len(scores)} controls")
        axes.axvline(score, color=TARGET, linewidth=2, label=f"this image: {score:.3f}")
        threshold = exceedance_threshold(scores, level)
        if np.isfinite(threshold):
            axes.axvline(threshold, color="black", linewidth=1, linestyle=":", label=f"p = {level:g}")
        axes.set_xlabel("score (log null error / inverted error, adjusted for complexity)")
        axes.set_ylabel("controls")
        axes.legend(frameon=False, fontsize=8)
        _save(figure, path)


def _log_ratios(error: ErrorMeasurement) -> tuple[list[float], list[float]]:
    points = [point for point in error.by_timestep if point.conditional > 0 and point.null > 0]
    return [p.timestep for p in points], [float(np.log(p.null / p.conditional)) for p in points]


def draw_error_curve(error: ErrorMeasurement, bank: NullBank | None, path: Path) -> None:
    """How much better the embedding predicts an image than the null condition, by timestep, with the controls' band."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _axes()
        times, ratios = _log_ratios(error)
        if bank is not None and bank.controls:
            curves = [
                [np.log(p.null / p.conditional) for p in control.by_timestep]
                for control in bank.controls
                if len(control.by_timestep) == len(times)
            ]
            if curves:
                low, middle, high = np.quantile(np.array(curves), [0.05, 0.5, 0.95], axis=0)
                axes.fill_between(
                    times, low, high, color=CONTROL, alpha=0.35, label=f"{len(curves)} controls, 5 % to 95 %"
                )
                axes.plot(times, middle, color=CONTROL, linewidth=1, label="controls' median")
        axes.plot(times, ratios, color=TARGET, linewidth=2, label="this image")
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xlabel("timestep (right: more noise)")
        axes.set_ylabel("log(null error / inverted error)")
        axes.legend(frameon=False, fontsize=8)
        _save(figure, path)


def draw_score_overview(bank: NullBank, scores: Sequence[float], level: float, path: Path) -> None:
    """All targets' scores against the controls'."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _axes(7.5, 2.6)
        controls = bank.scores()
        bins = np.linspace(min([*controls, *scores]), max([*controls, *scores]), 40).tolist()
        axes.hist(controls, bins=bins, color=CONTROL, density=True, label=f"{len(controls)} controls")
        axes.hist(scores, bins=bins, color=TARGET, density=True, alpha=0.6, label=f"{len(scores)} images audited")
        threshold = exceedance_threshold(controls, level)
        if np.isfinite(threshold):
            axes.axvline(threshold, color="black", linewidth=1, linestyle=":", label=f"p = {level:g}")
        axes.set_xlabel("score (higher: more memorised)")
        axes.set_ylabel("density")
        axes.legend(frameon=False, fontsize=8)
        _save(figure, path)
