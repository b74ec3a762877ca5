"""Chooses which sequences decode together. Pure arithmetic: no MLX.

The caches of a batch are padded to its longest sequence, and every step reads all of that. A second batch (a
lane) has no such padding, but reads the model's weights once more. So a sequence joins others while the
padding that it brings costs less than the weights. What a join copies has the same bound, and so has the gap
that the others see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_LANES = 4  # each lane is a forward pass of its own


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """The sequences of one lane. longest: tokens in the cache of the longest."""

    rows: int = 0
    longest: int = 0

    def padding(self, tokens: int) -> int:
        """Tokens of padding that one more sequence of so many tokens brings."""
        return (self.rows + 1) * max(self.longest, tokens) - self.rows * self.longest - tokens


def choose_lane(lanes: Sequence[LaneLoad], tokens: int, worth: int, separate: int | None = None) -> int:
    """The lane for a sequence of so many tokens; len(lanes) stands for a new one.

    worth: tokens of padding that cost as much as another forward pass.
    separate: tokens of the longest sequence from which on nothing is padded (as in DeviceTuning).
    """

    def cost(lane: LaneLoad) -> int:
        if not lane.rows:
            return worth
        return 0 if separate is not None and max(lane.longest, tokens) >= separate else lane.padding(tokens)

    costs = [cost(lane) for lane in lanes]
    best = min(range(len(costs)), key=costs.__getitem__, default=0)
    if costs and (costs[best] <= worth or len(lanes) >= MOST_LANES):
        return best
    return len(lanes)
