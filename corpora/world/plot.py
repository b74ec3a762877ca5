"""Line charts as SVG, written by hand: validity over turns, the loss of a training run, what it learned.

`python -m corpora.world.plot validity OUT.svg SHEET.json ...`, `... loss OUT.svg LOG.jsonl` and
`... learning OUT.svg PROBES.jsonl`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from corpora.world.sheet import Sheet

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 48, 96
COLOURS = ("#0b6e99", "#d9730d", "#4d6461", "#ad1a72", "#6940a5", "#b59b00", "#e03e3e", "#37352f")
GROUP = 5  # tool turns that make one point
LOSS_POINTS = 80  # of each line of the loss chart, at most about
PROBED = {
    "unseen": "unseen tools",
    "known": "known toolboxes",
    "parallel": "2 or 3 calls, unseen tools",
    "several": "2 or 3 calls, known toolboxes",
}

_MADE_BY = {
    "validity": "`make evaluate-variants` and `make evaluate-beyond` make these sheets",
    "loss": "`make train-model` writes that log",
    "learning": "`make train-model` writes these probes",
}


@dataclass(frozen=True, slots=True)
class Series:
    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """low to high, with a label and a mark every `step`. percent: how the marks are written."""

    label: str
    low: float
    high: float
    step: float
    percent: bool = False

    def marks(self) -> list[float]:
        count = int((self.high - self.low) / self.step + 1e-9)
        return [self.low + at * self.step for at in range(count + 1)]

    def text(self, value: float) -> str:
        return f"{value:.0%}" if self.percent else f"{value:g}"


def line_chart(title: str, series: Sequence[Series], x: Axis, y: Axis) -> str:
    """An SVG document. Values outside the axes are drawn at their ends."""

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _place(x, value)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _place(y, value)

    floor = HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(WIDTH / 2, 22, title, 'text-anchor="middle" font-size="14"'),
        _text((LEFT + WIDTH - RIGHT) / 2, floor + 32, x.label, 'text-anchor="middle"'),
        _text(LEFT, TOP - 8, y.label, 'text-anchor="start"'),
    ]
    for mark in y.marks():
        at = down(mark)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(_text(LEFT - 6, at + 4, y.text(mark), 'text-anchor="end"'))
    parts += [_text(across(mark), floor + 16, x.text(mark), 'text-anchor="middle"') for mark in x.marks()]
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(f"{across(px):.1f} {down(py):.1f}" for px, py in one.points)
        if path:
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        left = LEFT + (number % 3) * (WIDTH - LEFT - RIGHT) / 3
        top = floor + 50 + 16 * (number // 3)
        parts.append(f'<path d="M{left:.1f} {top - 4}h16" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(left + 22, top, one.label))
    return "\n".join([*parts, "</svg>\n"])


def _place(axis: Axis, value: float) -> float:
    return min(1.0, max(0.0, (value - axis.low) / (axis.high - axis.low)))


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    size = "" if "font-size" in attributes else ' font-size="11"'
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#37352f"{size} {attributes}>{escape(text)}</text>'


def validity_chart(sheets: Sequence[Sheet]) -> str:
    """The share of schema-valid tool turns by turn number, in groups of GROUP."""
    last = max((turn.turn for sheet in sheets for turn in sheet.turns), default=GROUP)
    series = [Series(sheet.label, tuple(_grouped(sheet))) for sheet in sheets]
    x = Axis("tool turn of the loop", 0, max(10, -(-last // 10) * 10), 10)
    return line_chart(
        f"Schema-valid as emitted, by turn (means of {GROUP} turns)",
        series,
        x,
        Axis("tool turns that are schema-valid", 0, 1, 0.2, percent=True),
    )


def _grouped(sheet: Sheet) -> list[tuple[float, float]]:
    groups: dict[int, tuple[int, int]] = {}
    for turn in sheet.turns:
        valid, asked = groups.get((turn.turn - 1) // GROUP, (0, 0))
        groups[(turn.turn - 1) // GROUP] = valid + turn.valid, asked + turn.asked
    return [
        (group * GROUP + (GROUP + 1) / 2, valid / asked) for group, (valid, asked) in sorted(groups.items())
    ]


def loss_chart(log: Path) -> str:
    """The loss of all tokens and of the assistant's own, over the tokens seen."""
    lines = _read(log)
    names = (("loss", "all tokens, weighted"), ("own", "the assistant's own tokens"))
    size = max(1, len(lines) // LOSS_POINTS)
    groups = [lines[at : at + size] for at in range(0, len(lines), size)]
    series = [
        Series(label, tuple((group[-1]["seen"] / 1e6, _mean(group, key)) for group in groups))
        for key, label in names
    ]
    return line_chart("Loss while training", series, _tokens(lines), Axis("nats per token", 0, 4, 0.5))


def learning_chart(probes: Path) -> str:
    """The share of right answers of each kind, over the tokens seen."""
    lines = _read(probes)
    series = [
        Series(label, tuple((line["seen"] / 1e6, line[key]) for line in lines))
        for key, label in PROBED.items()
    ]
    y = Axis("exactly right", 0, 1, 0.2, percent=True)
    return line_chart("Questions kept aside while training", series, _tokens(lines), y)


def _read(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines() if line.strip()]


def _tokens(lines: Sequence[dict[str, float]]) -> Axis:
    last = max((line["seen"] for line in lines), default=1) / 1e6
    return Axis("million tokens seen", 0, max(10, -(-last // 10) * 10), 10)


def _mean(lines: Sequence[dict[str, float]], key: str) -> float:
    return sum(line[key] for line in lines) / len(lines)


def main(arguments: Sequence[str]) -> None:
    kind, out, *files = arguments
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        how = _MADE_BY.get(kind, "")
        raise SystemExit(f"the {kind} chart is not drawn: {', '.join(missing)} is not there; {how}")
    if kind == "validity":
        chart = validity_chart([Sheet.load(Path(file)) for file in files])
    elif kind == "loss":
        chart = loss_chart(Path(files[0]))
    elif kind == "learning":
        chart = learning_chart(Path(files[0]))
    else:
        raise SystemExit(f"the chart is validity, loss or learning, got {kind!r}")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(chart, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
