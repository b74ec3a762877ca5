"""Runs a network in chunks of few sizes, for devices that prepare work for each size that they see.

On CUDA, MLX has cuDNN plan the attention of 16-bit models for more than one query: once for each shape and
stride of queries, keys, values and mask (mlx/backend/cuda/scaled_dot_product_attention.cpp). A plan takes far
longer than the step for which it is made, and no two turns of a conversation have the same length. So sizes
are rounded: those of the queries here, those of the keys in engine.batch_cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx

from engine.batch_cache import is_cuttable, joinable
from engine.tuning import Buckets, DeviceTuning

# of their range, by which logits may differ that are computed in another order; in float32
APART, APART_32 = 0.1, 1e-3


class RoundedNetwork:
    """A network that computes chunks of few sizes.

    Where tokens can be cut off the caches, a chunk is filled up, and what that added is cut off: no token
    sees what comes after it. For other caches, and at the end of the context, several chunks are computed.

    longest: tokens of the longest sequence; there may be no position beyond it.
    """

    def __init__(self, network: Any, tuning: DeviceTuning, chunks: Buckets, longest: int) -> None:
        self._network = network
        self._tuning = tuning
        self._chunks = chunks
        self._longest = longest

    def __call__(self, inputs: mx.array, cache: Any) -> mx.array:
        """inputs: token ids [rows, tokens]. Returns logits [rows, tokens, vocab]."""
        tokens = inputs.shape[1]
        more = self._tuning.padded(tokens) - tokens
        if is_cuttable(cache) and cache[0].end + tokens + more <= self._longest:
            return self._compute_padded(inputs, more, cache)
        logits = []
        for size in self._chunks.split(tokens):
            logits.append(self._network(inputs[:, :size], cache=cache))
            inputs = inputs[:, size:]
        return mx.concatenate(logits, axis=1) if len(logits) > 1 else logits[0]

    def _compute_padded(self, inputs: mx.array, more: int, cache: Any) -> mx.array:
        if not more:
            logits: mx.array = self._network(inputs, cache=cache)
            return logits
        padding = mx.repeat(inputs[:, -1:], more, axis=1)  # tokens that the network surely knows
        logits = self._network(mx.concatenate([inputs, padding], axis=1), cache=cache)
        for layer in cache:
            layer.trim(more)
        return logits[:, :-more]


def rounded(network: Any, tuning: DeviceTuning, longest: int) -> Any:
    """The network as it suits the device, unchanged where sizes cost nothing. longest: see RoundedNetwork."""
    return network if tuning.chunks is None else RoundedNetwork(network, tuning, tuning.chunks, longest)


def takes_padding(network: Any, tuning: DeviceTuning) -> bool:
    """Whether the network computes the same where its caches are longer than their tokens: some networks of
    mlx_lm make masks of their own.
    """
    inputs = mx.array([[0, 1, 0]])
    unpadded = replace(tuning, caches=None)
    exact, padded = (
        [layer.merge([layer]) for layer in joinable(network, None, 0, one)] for one in (unpadded, tuning)
    )
    return same(lambda: network(inputs, cache=exact), lambda: network(inputs, cache=padded), APART)


def takes_rows(network: Any, tuning: DeviceTuning) -> bool:
    """Whether the network computes the same where each sequence of a batch has buffers of its own: it has to
    leave keys and values to attention as it got them.
    """
    inputs = mx.array([[0, 1, 0], [1, 0, 0]])
    shared, own = (
        [layers[0].merge(list(layers)) for layers in zip(*sequences, strict=True)]
        for sequences in (
            [joinable(network, None, 0, replace(tuning, separate=long)) for _ in inputs] for long in (None, 0)
        )
    )
    return same(lambda: network(inputs, cache=shared), lambda: network(inputs, cache=own), APART_32)


def same(expected: Callable[[], mx.array], found: Callable[[], mx.array], most: float) -> bool:
    """Whether both compute the same logits, but for `most` of their range: not where one of them cannot."""
    try:
        logits, others = expected(), found()
        apart, whole = mx.abs(others - logits).max(), logits.max() - logits.min()
        return bool(apart <= most * whole)
    except (ValueError, RuntimeError, TypeError, AttributeError, LookupError):  # other shapes, other types
        return False
