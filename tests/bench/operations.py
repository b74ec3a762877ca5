"""What a turn's attention costs on a CPU when nothing else is computed: as the engine computes it, and by its
products alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache
from mlx_lm.utils import load_model

from engine.cpu.attention import attend

_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with attention. held: the most positions of its cache; 0: all."""

    heads: int
    groups: int
    width: int
    held: int

    def tokens(self, context: int) -> int:
        return min(context, self.held) if self.held else context


def attention_layers(path: Path) -> list[Layer]:
    """Of the model in a directory."""
    model, _ = load_model(path)
    return list(_layers(model))


def _layers(model: Any) -> Iterator[Layer]:
    given = model.args
    width = getattr(given, "head_dim", None) or given.hidden_size // given.num_attention_heads
    for layer, cache in zip(model.layers, make_prompt_cache(model), strict=True):
        if isinstance(cache, KVCache | RotatingKVCache):
            heads, groups = (
                part.weight.shape[0] // width for part in (layer.self_attn.q_proj, layer.self_attn.k_proj)
            )
            yield Layer(heads, groups, width, cache.max_size if isinstance(cache, RotatingKVCache) else 0)


def attention_seconds(
    layers: list[Layer], new: int, context: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Of `new` tokens at the end of `context`, as the engine computes it on a CPU."""
    kinds = {layer: layers.count(layer) for layer in layers}
    return sum(count * _best(_attention(layer, new, context), clock) for layer, count in kinds.items())


def _attention(layer: Layer, new: int, context: int) -> Callable[[], object]:
    tokens = layer.tokens(context)
    shapes = (layer.heads, new), (layer.groups, tokens), (layer.groups, tokens)
    q, k, v = (mx.random.normal((1, heads, rows, layer.width)) for heads, rows in shapes)
    mx.eval(q, k, v)
    return lambda: mx.eval(attend(q, k, v, scale=layer.width**-0.5, mask="causal"))


def product_seconds(layers: list[Layer], new: int, context: int) -> float:
    """Of the products in it alone, with all threads of numpy's BLAS."""
    kinds = {layer: layers.count(layer) for layer in layers}
    return sum(count * layer.heads * _best(_products(layer, new, context)) for layer, count in kinds.items())


def _products(layer: Layer, new: int, context: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    rows = new, layer.tokens(context)
    queries, keys = (rng.random((one, layer.width), dtype=np.float32) for one in rows)
    return lambda: (queries @ keys.T) @ keys


def _best(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = clock()
        work()
        best = min(best, clock() - begun)
    return best


def on_gpu() -> bool:
    """Whether models run on a GPU here, where such a turn's time is not in its operations."""
    return mx.default_device().type == mx.DeviceType.gpu
