"""Counters of what an engine has done so far, for its statistics."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from engine.types import BATCH_BOUNDS


@dataclass(slots=True)
class Counts:
    """Counters and last values of one engine.

    prefilled_tokens: computed for prompts, padding included.
    prompt_tokens: of prompts that are done, with those found in the cache.
    batch_size: of the last step.
    batch_sizes: steps by size, see BATCH_BOUNDS.
    """

    tokens_generated: int = 0
    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    steps: int = 0
    batch_size: int = 0
    peak_batch: int = 0
    batch_sizes: list[int] = field(default_factory=lambda: [0] * (len(BATCH_BOUNDS) + 1))
    faults: int = 0
    expired: int = 0

    def step(self, decoded: int, prefilled: int) -> None:
        """Counts a step that made this many tokens of answers and computed this many tokens of prompts."""
        self.steps += 1
        self.prefilled_tokens += prefilled
        self.tokens_generated += decoded
        if decoded:
            self.batch_sizes[bisect_left(BATCH_BOUNDS, decoded)] += 1
        self.batch_size = decoded
        self.peak_batch = max(self.peak_batch, decoded)

    def ahead(self, decoded: int) -> None:
        """Counts tokens of answers that the last step had computed ahead."""
        self.tokens_generated += decoded
