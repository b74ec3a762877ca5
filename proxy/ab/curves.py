"""The lines of a report's charts, out of the measured turns."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence

from proxy.ab.charts import Chart, Line
from proxy.ab.measured import MeasuredTurn, Results
from proxy.ab.measures import end_of, group
from proxy.ab.statistics import survival

GROUP = 5  # turns that make one point
_CONTEXT = 1000  # tokens of a prompt that make one point
_POINTS = 60  # of a distribution


def charts_of(results: Results, arms: Sequence[str], streams: int) -> list[Chart]:
    """The charts of one number of conversations at a time."""
    turns = [results.turns_of(arm, streams) for arm in arms]

    def lines(
        of: Callable[[Sequence[MeasuredTurn]], tuple[tuple[float, float], ...]], step: bool = False
    ) -> tuple[Line, ...]:
        return tuple(Line(arm, at, of(turns[at]), step) for at, arm in enumerate(arms))

    return [
        Chart("Turns that are not broken", "tool turn", "share", lines(_intact_by_turn), "%", 1.0, 1.0),
        Chart(
            "Conversations without a broken turn so far",
            "tool turn",
            "share",
            lines(_survival, True),
            "%",
            1.0,
            1.0,
        ),
        Chart("Time to first token by turn", "tool turn", "median", lines(_ttft_by_turn), "s"),
        Chart(
            "Time to first token by context", "tokens of the prompt", "median", lines(_ttft_by_context), "s"
        ),
        Chart(
            "How long turns take",
            "time of a turn (s)",
            "share of turns",
            lines(_spread(lambda t: t.seconds)),
            "%",
            0.0,
            1.0,
        ),
        Chart(
            "How long the first token takes",
            "time to first token (s)",
            "share of turns",
            lines(_spread(lambda t: t.ttft)),
            "%",
            0.0,
            1.0,
        ),
    ]


def _grouped(
    turns: Sequence[MeasuredTurn],
    place: Callable[[MeasuredTurn], float | None],
    figure: Callable[[list[MeasuredTurn]], float | None],
) -> tuple[tuple[float, float], ...]:
    """A point for each group of turns that has a figure. place: the group's place across."""
    held: dict[float, list[MeasuredTurn]] = defaultdict(list)
    for turn in turns:
        at = place(turn)
        if at is not None:
            held[at].append(turn)
    found = ((at, figure(held[at])) for at in sorted(held))
    return tuple((at, value) for at, value in found if value is not None)


def _by_turn(turn: MeasuredTurn) -> float | None:
    """The last turn of the group that it is in."""
    return max(1, -(-turn.tool_turn // GROUP)) * GROUP


def _by_context(turn: MeasuredTurn) -> float | None:
    return None if not turn.prompt_tokens else -(-turn.prompt_tokens // _CONTEXT) * _CONTEXT


def _median_ttft(turns: list[MeasuredTurn]) -> float | None:
    known = [turn.ttft for turn in turns if turn.ttft is not None]
    return statistics.median(known) if known else None


def _intact_by_turn(turns: Sequence[MeasuredTurn]) -> tuple[tuple[float, float], ...]:
    return _grouped(turns, _by_turn, lambda held: sum(not turn.broken for turn in held) / len(held))


def _ttft_by_turn(turns: Sequence[MeasuredTurn]) -> tuple[tuple[float, float], ...]:
    return _grouped(turns, _by_turn, _median_ttft)


def _ttft_by_context(turns: Sequence[MeasuredTurn]) -> tuple[tuple[float, float], ...]:
    return _grouped(turns, _by_context, _median_ttft)


def _survival(turns: Sequence[MeasuredTurn]) -> tuple[tuple[float, float], ...]:
    ends = [end_of(held) for held in group(turns).values()]
    return ((0.0, 1.0), *((float(turn), share) for turn, share, _ in survival(ends))) if ends else ()


def _spread(
    of: Callable[[MeasuredTurn], float | None],
) -> Callable[[Sequence[MeasuredTurn]], tuple[tuple[float, float], ...]]:
    """The share of turns that took at most so long, up to the 99th of a hundred: one slow turn would squeeze
    the rest.
    """

    def points(turns: Sequence[MeasuredTurn]) -> tuple[tuple[float, float], ...]:
        known = sorted(value for turn in turns if (value := of(turn)) is not None)
        kept = known[: max(1, round(len(known) * 0.99))]
        chosen = range(0, len(kept), max(1, len(kept) // _POINTS))
        return tuple((round(kept[at], 4), (at + 1) / len(known)) for at in chosen)

    return points
