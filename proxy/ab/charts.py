"""Line charts of a report as SVG, drawn for a card of 400 points; colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 38
_STROKES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart. style: the number of its colour and dashes. step: the value holds until the next
    point.
    """

    label: str
    style: int
    points: tuple[tuple[float, float], ...]
    step: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    unit: `%`, `s`, or "" for plain numbers.
    low: where the axis of values begins at the latest. high: where it ends; None for the highest value.
    """

    title: str
    across: str
    up: str
    lines: tuple[Line, ...]
    unit: str = ""
    low: float = 0.0
    high: float | None = None


def draw(chart: Chart) -> str:
    """The chart as an SVG element with a text for those who do not see it; a sentence without any points."""
    points = [point for line in chart.lines for point in line.points]
    if not points:
        return '<p class="quiet">There is nothing to draw: this was not measured.</p>'
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks = ticks(min(xs), max(xs))
    y_ticks = ticks(min(chart.low, *ys), max(ys) if chart.high is None else chart.high)
    frame = _Frame(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(spoken(chart))}">',
        *_grid(frame, x_ticks, y_ticks, chart),
        *(_path(frame, line) for line in chart.lines if line.points),
        "</svg>",
    ]
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Frame:
    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        span = (self.right - self.left) or 1
        return _LEFT + (value - self.left) / span * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        span = (self.top - self.bottom) or 1
        return HEIGHT - _BOTTOM - (value - self.bottom) / span * (HEIGHT - _TOP - _BOTTOM)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about as many as wanted."""
    span = high - low or abs(high) or 1.0
    raw = span / wanted
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def written(value: float, unit: str) -> str:
    """A number of an axis or a table with its unit."""
    if unit == "%":
        return f"{value:.0%}" if abs(value * 100 - round(value * 100)) < 0.05 else f"{value:.1%}"
    if unit == "s":
        return f"{value:g} s" if value >= 1 or not value else f"{value * 1000:.3g} ms"
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:.4g}"


def _grid(frame: _Frame, x_ticks: Sequence[float], y_ticks: Sequence[float], chart: Chart) -> list[str]:
    foot = HEIGHT - _BOTTOM
    parts = []
    for value in y_ticks:
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = escape(written(value, chart.unit))
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value in x_ticks:
        x = frame.x(value)
        anchor = "end" if value == x_ticks[-1] else "middle"
        text = written(value, _across_unit(chart))
        parts.append(f'<text x="{x:.1f}" y="{foot + 15}" text-anchor="{anchor}">{text}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{escape(chart.across)}</text>')
    return parts


def _across_unit(chart: Chart) -> str:
    return "s" if chart.across.endswith("(s)") else ""


def _path(frame: _Frame, line: Line) -> str:
    spots = [(frame.x(x), frame.y(y)) for x, y in line.points]
    steps = [f"M{spots[0][0]:.1f},{spots[0][1]:.1f}"]
    for x, y in spots[1:]:
        steps.append(f"H{x:.1f}V{y:.1f}" if line.step else f"L{x:.1f},{y:.1f}")
    number = line.style % len(_STROKES)
    dashes = f' stroke-dasharray="{_STROKES[number]}"' if number else ""
    alone = f'<circle class="dot arm{number}" cx="{spots[0][0]:.1f}" cy="{spots[0][1]:.1f}" r="3"/>'
    path = f'<path class="line arm{number}" d="{"".join(steps)}"{dashes}/>'
    return alone if len(spots) == 1 else path


def swatch(style: int) -> str:
    """A piece of a line, for legends."""
    number = style % len(_STROKES)
    dashes = f' stroke-dasharray="{_STROKES[number]}"' if number else ""
    return (
        '<svg class="swatch" viewBox="0 0 26 8" aria-hidden="true">'
        f'<path class="line arm{number}" d="M1,4H25"{dashes}/></svg>'
    )


def spoken(chart: Chart) -> str:
    """The chart in a sentence: where each line begins and ends."""
    said = []
    for line in chart.lines:
        if line.points:
            first, last = line.points[0], line.points[-1]
            said.append(
                f"{line.label} from {written(first[1], chart.unit)} to {written(last[1], chart.unit)}"
            )
    return f"{chart.title}: {chart.up} over {chart.across}. " + "; ".join(said)


def card(chart: Chart) -> str:
    """A chart with its title and its figures, as HTML."""
    return f'<section class="card"><h3>{escape(chart.title)}</h3>{draw(chart)}{data_table(chart)}</section>'


def data_table(chart: Chart) -> str:
    """The points of the chart as an HTML table, behind a heading that opens it."""
    xs = sorted({x for line in chart.lines for x, _ in line.points})
    lines = [line for line in chart.lines if line.points]
    held = [dict(line.points) for line in lines]
    head = "".join(f'<th scope="col">{escape(line.label)}</th>' for line in lines)
    rows = "".join(
        f'<tr><th scope="row">{written(x, _across_unit(chart))}</th>'
        + "".join(f"<td>{written(one[x], chart.unit) if x in one else ''}</td>" for one in held)
        + "</tr>"
        for x in xs
    )
    title, across = escape(chart.title), escape(chart.across)
    return (
        f"<details><summary>Figures of “{title}”</summary>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{title}"><table><thead>'
        f'<tr><th scope="col">{across}</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )
