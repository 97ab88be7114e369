"""One chart as SVG text: axes with round ticks, a legend, a title, a description; no script, always the same bytes.

A chart lies on a card of its own colours, which it chooses by the colour scheme of the page that shows it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 520, 260
"""Size of a chart in its own units; a page scales it."""

LEFT, RIGHT, TOP, BOTTOM = 54, 508, 36, 214
"""Edges of the plane that is drawn on."""

Point = tuple[float, float]

STYLE = (
    ":root{--ink:#1b1f27;--soft:#566074;--line:#e3e6ec;--paper:#fff;--control:#8691a5;--target:#b4410b}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e9ecf2;--soft:#a5afc1;--line:#2d333e;--paper:#191d24;"
    "--control:#76829a;--target:#ff9d66}}"
    "text{fill:var(--soft)}.ink{fill:var(--ink)}.paper{fill:var(--paper)}.grid{stroke:var(--line)}"
    ".axis{stroke:var(--soft)}.control{fill:var(--control)}.target{fill:var(--target)}.band{fill:var(--control);opacity:.35}"
    ".line{fill:none;stroke-linejoin:round}.line-control{stroke:var(--control);stroke-width:1.5}"
    ".line-target{stroke:var(--target);stroke-width:2.5}.line-zero{stroke:var(--soft);stroke-dasharray:1 3}"
    ".line-level{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 3}"
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """From values to places along one side; a range without width gets one."""

    low: float
    high: float
    start: float
    """Place of `low`, in the chart's units."""
    stop: float
    """Place of `high`, in the chart's units."""

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and labels of the round values inside.

        >>> Scale(0.0, 2.0, 0.0, 100.0).ticks()
        [(0.0, '0'), (25.0, '0.5'), (50.0, '1'), (75.0, '1.5'), (100.0, '2')]
        """
        step = _round_step((self.high - self.low) / 5)
        numbers = range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)
        return [(self(number * step), f"{number * step:.10g}") for number in numbers]


def horizontal(low: float, high: float) -> Scale:
    """Make a scale along the lower side."""
    return Scale(*_widened(low, high), LEFT, RIGHT)


def vertical(low: float, high: float) -> Scale:
    """Make a scale along the left side."""
    return Scale(*_widened(low, high), BOTTOM, TOP)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high - low > 1e-12 * max(1.0, abs(low), abs(high)) else (low - 0.5, high + 0.5)


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def frame(x: Scale, y: Scale, x_label: str, y_label: str) -> str:
    """Draw grid, axis and ticks, and name what is measured along both sides."""
    parts = [
        f'<path class="grid" d="M{LEFT} {at:.1f}H{RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>'
        for at, text in y.ticks()
    ]
    parts += [
        f'<path class="axis" d="M{at:.1f} {BOTTOM}v4"/>'
        f'<text x="{at:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{text}</text>'
        for at, text in x.ticks()
    ]
    middle = (TOP + BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 9}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="rotate(-90)" x="{-middle}" y="13" text-anchor="middle">{escape(y_label)}</text>'
        f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>'
    )
    return "\n".join(parts)


def bars(x: Scale, y: Scale, edges: Sequence[float], heights: Sequence[float], kind: str, *, part: int = 0) -> str:
    """Draw a histogram; with a part of 1 or 2 only the left or right half of every bin, for two side by side."""
    drawn = []
    for height, low, high in zip(heights, edges[:-1], edges[1:], strict=True):
        if height:
            left, right, top = x(low), x(high) - 1, y(height)
            if part:
                left, right = (left, (left + right) / 2) if part == 1 else ((left + right) / 2, right)
            width = max(1.0, right - left)
            drawn.append(f"M{left:.1f} {BOTTOM}V{top:.1f}h{width:.1f}V{BOTTOM}z")
    return f'<path class="{kind}" d="{"".join(drawn)}"/>' if drawn else ""


def line(points: Sequence[Point], kind: str) -> str:
    """Draw a curve through places of the plane; `kind` is control, target, zero or level."""
    return f'<polyline class="line line-{kind}" points="{_places(points)}"/>' if points else ""


def dots(points: Sequence[Point], kind: str) -> str:
    """Draw one dot per place; `kind` is control or target."""
    drawn = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    return f'<g class="{kind}" fill-opacity=".6">{drawn}</g>' if drawn else ""


def band(upper: Sequence[Point], lower: Sequence[Point]) -> str:
    """Draw the area between two curves."""
    return f'<polygon class="band" points="{_places([*upper, *reversed(lower)])}"/>'


def mark(at: float, kind: str) -> str:
    """Draw a vertical line."""
    return f'<path class="line line-{kind}" d="M{at:.1f} {TOP}V{BOTTOM}"/>'


def _places(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Draw the legend: a box for control, target and band, a stroke for kinds that begin with `line-`."""
    return "\n".join(_entries(entries))


def _entries(entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    x = float(LEFT)
    for kind, text in entries:
        key = (
            f'<path class="line {kind}" d="M{x:.1f} 16h14"/>'
            if kind.startswith("line-")
            else f'<rect class="{kind}" x="{x:.1f}" y="11" width="14" height="10"/>'
        )
        yield f'{key}<text class="ink" x="{x + 20:.1f}" y="20">{escape(text)}</text>'
        x += 38 + 6.4 * len(text)


def document(title: str, description: str, parts: Sequence[str]) -> str:
    """Return a whole SVG file."""
    body = "\n".join(part for part in parts if part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="title description" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<title id="title">{escape(title)}</title>\n<desc id="description">{escape(description)}</desc>\n'
        f'<style>{STYLE}</style>\n<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>\n{body}\n</svg>\n'
    )
