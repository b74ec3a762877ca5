"""What a turn's attention costs on a CPU by arithmetic alone, and what products reach there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache
from mlx_lm.utils import load_model

_SIDE, _ROUNDS = 1536, 12


def attention_operations(path: Path, new: int, context: int) -> float:
    """Of `new` tokens at the end of `context` in the model of a directory: 2 for each multiplication of
    scores and of values, over the positions that each layer's cache holds.
    """
    model, _ = load_model(path)
    return sum(
        4.0 * width * new * (min(context, held) if held else context) for width, held in _layers(model)
    )


def _layers(model: Any) -> Iterator[tuple[int, int]]:
    """Of each layer with attention: heads times their width, and the most positions of its cache (0: all)."""
    for layer, cache in zip(model.layers, make_prompt_cache(model), strict=True):
        if isinstance(cache, KVCache | RotatingKVCache):
            query = layer.self_attn.q_proj
            width = query.weight.shape[0]
            yield width, cache.max_size if isinstance(cache, RotatingKVCache) else 0


def on_gpu() -> bool:
    """Whether models run on a GPU here, where such a turn's time is not in its operations."""
    return mx.default_device().type == mx.DeviceType.gpu


def operations_per_second() -> float:
    """The most that products of large float32 matrices reach here, with all threads of numpy's BLAS."""
    left, right = np.random.default_rng(0).random((2, _SIDE, _SIDE), dtype=np.float32)
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - begun)
    return 2.0 * _SIDE**3 / best


def growth(path: Path, new: int, early: tuple[int, float], late: int, per_second: float) -> float:
    """How many times longer than an early turn a late one takes, if its attention ran at that rate and
    nothing else grew.

    early: tokens of its prompt, and seconds. late: tokens of its prompt.
    """
    tokens, seconds = early
    more = attention_operations(path, new, late) - attention_operations(path, new, tokens)
    return 1.0 + more / per_second / seconds
