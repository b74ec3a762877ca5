"""Values that suit the device on which the model runs: one DeviceTuning, chosen once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

LEAST_PADDED = 64  # tokens that a GPU computes in the time of two


@dataclass(frozen=True, slots=True)
class Buckets:
    """The sizes to which numbers of tokens are rounded: `least`, and from there each doubling in `steps`
    equal parts.
    """

    least: int
    steps: int

    def up(self, tokens: int) -> int:
        """The smallest size that holds so many tokens."""
        unit = self._unit(tokens - 1)
        return max(self.least, -(-tokens // unit) * unit)

    def down(self, tokens: int) -> int:
        """The largest size that so many tokens fill; `tokens` are `least` or more."""
        return tokens - tokens % self._unit(tokens)

    def split(self, tokens: int) -> Iterator[int]:
        """Sizes that come to so many tokens, largest first; `least` is 1. None is 1, unless `tokens` is:
        caches may take a single token for one that is decoded.
        """
        while tokens:
            size = self.down(tokens)
            if tokens - size == 1:
                size = self.down(tokens - 2)
            yield size
            tokens -= size

    def _unit(self, tokens: int) -> int:
        """What two sizes differ by, from this one on."""
        doublings = max(1, tokens // self.least).bit_length() - 1
        return max(1, (self.least << doublings) // self.steps)


@dataclass(frozen=True, slots=True)
class DeviceTuning:
    """What is tuned for a kind of device.

    prefill_step: most prompt tokens computed between two decode steps, where the settings say nothing.
    chunk_units: chunks of a prompt are whole multiples of the first number; of the second, from 256 tokens
        on.
    breaks: seconds of break after each second of copying, reading or writing, while requests decode.
    settle_bytes: bytes of what is to be kept that are computed between two steps of the model.
    stagger: tokens of room by which the buffers of neighbouring layers differ, see engine.batch_cache. 0: all
        have one size, and are copied in one step.
    least_chunk: tokens that hardly take longer than one: no chunk is made smaller for those who decode.
    chunks: sizes in which tokens are computed, where the device prepares work for each size; see
        engine.shapes.
    caches: the same for the buffers of keys and values, which attention reads as a whole.
    separate: tokens of the longest sequence of a batch from which on each keeps buffers of its own; see
        engine.separate_cache. None: they always share them.
    """

    prefill_step: int
    chunk_units: tuple[int, int]
    breaks: float
    settle_bytes: int
    stagger: int
    least_chunk: int = 1
    chunks: Buckets | None = None
    caches: Buckets | None = None
    separate: int | None = None

    def whole(self, tokens: int) -> int:
        """The size of a chunk of about so many tokens."""
        if self.chunks is not None:
            return self.chunks.down(tokens)
        unit = self.chunk_units[tokens >= 256]
        return (tokens + unit // 2) // unit * unit

    def padded(self, tokens: int) -> int:
        """How many tokens are computed for so many, where some may be computed in vain."""
        if self.chunks is None or tokens < 2:
            return tokens
        return self.chunks.up(max(tokens, LEAST_PADDED))

    def cohort(self, prompts: int) -> int:
        """How many of so many prompts are computed together."""
        return prompts if self.chunks is None else Buckets(1, 1).down(prompts)

    def cached(self, tokens: int) -> int:
        """Tokens for which the cache of a sequence of so many has room."""
        return tokens if self.caches is None else self.caches.up(tokens)


# Measured on two cores, which the copying threads share with the model; longer chunks are slower there.
CPU = DeviceTuning(
    prefill_step=256, chunk_units=(8, 32), breaks=3.0, settle_bytes=16 * 2**20, stagger=32, separate=1024
)
# The model has a device of its own, from which copying takes little. Chosen, and not measured yet.
METAL = DeviceTuning(prefill_step=2048, chunk_units=(8, 32), breaks=0.5, settle_bytes=64 * 2**20, stagger=32)
# cuDNN plans attention for each shape and stride of queries, keys and mask, which takes tenths of a second.
CUDA = DeviceTuning(
    prefill_step=2048,
    chunk_units=(8, 32),
    breaks=0.5,
    settle_bytes=64 * 2**20,
    stagger=0,
    least_chunk=256,
    chunks=Buckets(1, 2),
    caches=Buckets(256, 8),
)


def keep_plans() -> None:
    """Has MLX keep more of cuDNN's plans than 256: one long conversation needs 50. To be called before MLX
    computes; a setting of the user's stays.
    """
    os.environ.setdefault("MLX_CUDA_SDPA_CACHE_SIZE", "1024")


def tuning_for(device: str) -> DeviceTuning:
    """The tuning for a device: cpu, metal or cuda."""
    return {"cpu": CPU, "metal": METAL, "cuda": CUDA}[device]
