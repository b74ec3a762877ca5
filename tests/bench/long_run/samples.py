"""What is written down every few seconds, and whether it grows: by a robust slope and its interval."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import TracebackType

BLOCKS = 24  # a series is judged by the medians of so many stretches: neighbours hang together
LEAST_S = 600.0  # in less time nothing can be said of an hour
#: of its level in an hour, or so much in all where the level is small
BOUND, LEAST_UNITS = 0.05, 2.0

Row = Mapping[str, float | str | None]


@dataclass(frozen=True, slots=True)
class Growth:
    """How much a series grows.

    level: its median.
    an_hour: Theil and Sen's slope (Sen 1968) times an hour.
    low, high: the ends of its 95% interval, by the order of the slopes and Kendall's variance without ties.
    seconds: how long it was watched.
    """

    level: float
    an_hour: float
    low: float
    high: float
    seconds: float

    @property
    def share(self) -> float:
        """Of the level, an hour."""
        return self.an_hour / self.level if self.level else 0.0

    @property
    def is_judged(self) -> bool:
        return self.seconds >= LEAST_S

    @property
    def is_flat(self) -> bool:
        """Whether it grows by no more than the bound; so does what was not watched long enough."""
        return not self.is_judged or self.an_hour <= max(BOUND * self.level, LEAST_UNITS)


def growth(points: Sequence[tuple[float, float]]) -> Growth:
    """Of points (seconds, value) in the order of time. Raises ValueError for fewer than two."""
    if len(points) < 2:
        raise ValueError("a slope takes two points")
    size = max(1, -(-len(points) // BLOCKS))
    blocks = [points[at : at + size] for at in range(0, len(points), size)]
    middles = [
        (statistics.fmean(at for at, _ in block), statistics.median(value for _, value in block))
        for block in blocks
    ]
    slopes = sorted(
        (after - before) / (later - sooner)
        for (sooner, before), (later, after) in combinations(middles, 2)
        if later > sooner
    )
    level = statistics.median(value for _, value in points)
    count = len(middles)
    reach = 1.96 * (count * (count - 1) * (2 * count + 5) / 18) ** 0.5
    low = slopes[max(0, int((len(slopes) - reach) / 2))]
    high = slopes[min(len(slopes) - 1, int((len(slopes) + reach) / 2))]
    middle = statistics.median(slopes)
    return Growth(level, middle * 3600, low * 3600, high * 3600, points[-1][0] - points[0][0])


class SampleFile:
    """A CSV file that is whole after each row. The first row names the columns; later ones have the same."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer: csv.DictWriter[str] | None = None
        self.rows: list[Row] = []

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, row: Row) -> None:
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row))
            self._writer.writeheader()
        self._writer.writerow(row)
        self._file.flush()
        self.rows.append(row)


def series(rows: Sequence[Row], server: str, column: str, since: float = 0.0) -> list[tuple[float, float]]:
    """The points of one column of one server. Rows in which it was not measured have none."""
    return [
        (float(at), float(value))
        for row in rows
        if row["server"] == server
        and isinstance(at := row["seconds"], float | int)
        and isinstance(value := row[column], float | int)
        and at >= since
    ]
