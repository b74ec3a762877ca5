"""What is compared: one figure for each conversation and measure, and the sums that the tables show."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from corpora.exam import wilson
from proxy.ab.measured import BROKEN, Delivered, MeasuredItem, MeasuredTurn, Results


class Scale(StrEnum):
    """How a measure is compared: shares and numbers of turns by their difference, times by their ratio."""

    share = "share"
    turns = "turns"
    time = "time"


Turns = Sequence[MeasuredTurn]


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure.

    name: in tables. more, fewer: what a verdict says of an arm with a higher or a lower figure.
    of: the figure of one conversation; None where it was not measured.
    total: hits and total of a share over all turns and conversations; None for other scales.
    primary: half of the level of all tests is this measure's own.
    """

    name: str
    scale: Scale
    more: str
    fewer: str
    of: Callable[[MeasuredItem, Turns], float | None]
    total: Callable[[Sequence[MeasuredItem], Turns], tuple[int, int]] | None = None
    primary: bool = False


def _share(
    chosen: Callable[[MeasuredTurn], bool | None],
) -> tuple[
    Callable[[MeasuredItem, Turns], float | None],
    Callable[[Sequence[MeasuredItem], Turns], tuple[int, int]],
]:
    """A share of turns. chosen: None for a turn that does not count."""

    def total(items: Sequence[MeasuredItem], turns: Turns) -> tuple[int, int]:
        known = [bool(found) for turn in turns if (found := chosen(turn)) is not None]
        return sum(known), len(known)

    def of(item: MeasuredItem, turns: Turns) -> float | None:
        hits, count = total([item], turns)
        return hits / count if count else None

    return of, total


def _tasks(items: Sequence[MeasuredItem], turns: Turns) -> tuple[int, int]:
    return sum(item.tasks_done or 0 for item in items), sum(item.tasks or 0 for item in items)


def _tasks_of(item: MeasuredItem, turns: Turns) -> float | None:
    return (item.tasks_done or 0) / item.tasks if item.tasks else None


def _reused(items: Sequence[MeasuredItem], turns: Turns) -> tuple[int, int]:
    told = [turn for turn in turns if turn.cached_tokens is not None and turn.prompt_tokens]
    return sum(turn.cached_tokens or 0 for turn in told), sum(turn.prompt_tokens or 0 for turn in told)


def _reused_of(item: MeasuredItem, turns: Turns) -> float | None:
    cached, prompt = _reused([item], turns)
    return cached / prompt if prompt else None


def end_of(turns: Turns) -> tuple[int, bool]:
    """The last tool turn of a conversation, or the first that an agent could not go on from; and which."""
    first = next((turn for turn in turns if not turn.usable), None)
    if first is not None:
        return max(1, first.tool_turn), True
    return max((turn.tool_turn for turn in turns), default=0), False


def _intact(item: MeasuredItem, turns: Turns) -> float | None:
    if not turns:
        return None
    end, broken = end_of(turns)
    return end - 1 if broken else end


def _median(of: Callable[[MeasuredTurn], float | None]) -> Callable[[MeasuredItem, Turns], float | None]:
    def figure(item: MeasuredItem, turns: Turns) -> float | None:
        known = [value for turn in turns if (value := of(turn)) is not None]
        return statistics.median(known) if known else None

    return figure


MEASURES: tuple[Measure, ...] = (
    Measure("broken turns", Scale.share, "delivers more broken turns", "delivers fewer broken turns",
            *_share(lambda turn: turn.broken), primary=True),
    Measure("refused or broken off", Scale.share, "fails more requests", "fails fewer requests",
            *_share(lambda turn: turn.delivered is Delivered.error)),
    Measure("exactly right", Scale.share, "is exactly right more often", "is exactly right less often",
            *_share(lambda turn: turn.exact)),
    Measure("tasks done", Scale.share, "does more tasks", "does fewer tasks", _tasks_of, _tasks),
    Measure("turns before the first broken one", Scale.turns, "goes more turns before the first broken one",
            "goes fewer turns before the first broken one", _intact),
    Measure("time to first token", Scale.time, "begins to answer later", "begins to answer sooner",
            _median(lambda turn: turn.ttft)),
    Measure("time between pieces of text", Scale.time, "streams more slowly", "streams faster",
            _median(lambda turn: turn.gap if turn.delivered is Delivered.none else None)),
    Measure("time of a turn", Scale.time, "takes longer for a turn", "takes less time for a turn",
            _median(lambda turn: turn.seconds)),
    Measure("prompt tokens reused", Scale.share, "reuses more of its prompts", "reuses less of its prompts",
            _reused_of, _reused),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArmSums:
    """An arm at one number of conversations at a time.

    delivered: turns by what was delivered.
    flaws: broken and failed turns by kind and flaw.
    figures: by measure, the mean over conversations, of times the median; None where nothing was measured.
    totals: by measure that is a share, hits and total.
    attempts: of all turns, where the server tells them.
    memory: the most bytes that it held; None where that is not known.
    """

    arm: str
    streams: int
    items: int
    turns: int
    delivered: dict[str, int]
    flaws: dict[str, int]
    figures: dict[str, float | None]
    totals: dict[str, tuple[int, int]]
    ended: dict[str, int]
    attempts: int | None
    memory: int | None

    def interval(self, measure: str) -> tuple[float, float]:
        """The 95% Wilson interval of a share."""
        return wilson(*self.totals[measure])


def sum_up(results: Results, arm: str, streams: int) -> ArmSums:
    """The sums of one arm at one level."""
    items, turns = results.items_of(arm, streams), results.turns_of(arm, streams)
    by_item = group(turns)
    figures: dict[str, float | None] = {}
    for measure in MEASURES:
        known = [
            value for item in items if (value := measure.of(item, by_item.get(item.item, ()))) is not None
        ]
        middle = statistics.median if measure.scale is Scale.time else statistics.fmean
        figures[measure.name] = middle(known) if known else None
    told = [turn.attempts for turn in turns if turn.attempts is not None]
    flawed = [turn for turn in turns if turn.delivered in BROKEN or turn.delivered is Delivered.error]
    return ArmSums(
        arm,
        streams,
        len(items),
        len(turns),
        dict(Counter(str(turn.delivered) for turn in turns)),
        dict(Counter(f"{turn.delivered}: {turn.flaw}" for turn in flawed)),
        figures,
        {one.name: one.total(items, turns) for one in MEASURES if one.total is not None},
        dict(Counter(item.ended for item in items)),
        sum(told) if told else None,
        max((one.bytes for one in results.memory if one.arm == arm), default=None),
    )


def group(turns: Turns) -> dict[str, list[MeasuredTurn]]:
    """The turns by conversation."""
    found: dict[str, list[MeasuredTurn]] = {}
    for turn in turns:
        found.setdefault(turn.item, []).append(turn)
    return found
