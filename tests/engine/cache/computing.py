"""A model that computes prompts, and a prefix cache over what it computed, for the tests of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache, make_prompt_cache

from engine.cache.archive import Archive
from engine.cache.disk import Folder
from engine.cache.layers import Layout
from engine.cache.radix import as_tokens
from engine.cache.ram import RamTier
from engine.cache.store import PrefixCache
from engine.cache.streaming import Joined
from engine.cache.taken import Taken

PER_TOKEN = 2 * 2 * 2 * 16 * 4
LIMIT = 64 * 2**20


def made(taken: Taken) -> tuple[list[Any], int]:
    """The caches that a request starts from, computed as the engine does, and how many tokens they have."""
    joined = Joined([], 0)
    for joined in taken.join() if taken.join is not None else ():
        mx.eval([layer.state for layer in joined.caches])
    return joined.caches, joined.length


class Bench:
    """A model that computes prompts, and the cache under test."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.caches: list[PrefixCache] = []

    def size(self, prompt: Sequence[int]) -> int:
        """Bytes of RAM that a conversation takes."""
        layout = Layout(lambda: make_prompt_cache(self.model), KVCache)
        return layout.cut(self.compute(prompt)[0], 0, len(prompt)).nbytes

    def open(
        self,
        folder: Path | None = None,
        ram: int = 2**30,
        fingerprint: str = "f",
        most_pending: int = 2**30,
    ) -> PrefixCache:
        archive = Archive(Folder(folder, LIMIT), "keep", most_pending) if folder is not None else None
        layout = Layout(lambda: make_prompt_cache(self.model), KVCache)
        tier = RamTier(ram, PER_TOKEN)
        self.caches.append(PrefixCache(layout, fingerprint, "tiny", tier, archive))
        return self.caches[-1]

    def compute(self, tokens: Sequence[int], start: Taken | None = None) -> tuple[Any, np.ndarray[Any, Any]]:
        """The caches of all tokens, and the logits of the last."""
        taken = start or Taken()
        caches, length = made(taken)
        caches = caches or make_prompt_cache(self.model)
        logits = self.model(mx.array([list(tokens[length:])]), cache=caches)
        mx.eval(logits)
        return caches, np.array(logits[0, -1])

    def turn(self, cache: PrefixCache, tokens: Sequence[int]) -> Taken:
        """Ask for a prompt as the engine does, wait for the disk, compute the rest, keep it all."""
        taken = self.take(cache, tokens)
        caches, logits = self.compute(tokens, taken)
        np.testing.assert_allclose(logits, self.compute(tokens)[1], atol=1e-4)
        cache.keep(tokens, caches)
        cache.settle()
        return taken

    def take(self, cache: PrefixCache, tokens: Sequence[int]) -> Taken:
        waiting = cache.look(as_tokens(tokens), lambda _: 30.0)
        while cache.waits(waiting):
            cache.tick()
        return cache.take(waiting)


def text(seed: int, size: int) -> list[int]:
    """Begins with `seed`: conversations of different seeds have nothing in common."""
    return [seed, *(int(token) for token in np.random.default_rng(seed).integers(0, 250, size - 1))]


def conversation(seed: int, turns: int) -> list[list[int]]:
    """Prompts that go on from one another."""
    whole = text(seed, 90 + 30 * turns)
    return [whole[: 90 + 30 * turn] for turn in range(turns)]


def written(cache: PrefixCache) -> None:
    assert cache.archive is not None
    assert cache.archive.flush(30.0)
    cache.tick()
