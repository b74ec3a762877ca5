"""Runs a network in chunks of few sizes, for devices that prepare work for each size that they see.

On CUDA, MLX has cuDNN plan the attention of 16-bit models for more than one query: once for each shape and
stride of queries, keys, values and mask (mlx/backend/cuda/scaled_dot_product_attention.cpp). A plan takes far
longer than the step for which it is made, and no two turns of a conversation have the same length. So sizes
are rounded: those of the queries here, those of the keys in engine.batch_cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx

from engine.batch_cache import is_cuttable, joinable
from engine.tuning import Buckets, DeviceTuning

APART = 0.1  # of their range, by which logits may differ that are computed in another order


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
    try:
        expected = network(inputs, cache=exact)
        found = network(inputs, cache=padded)
        apart, whole = mx.abs(found - expected).max(), expected.max() - expected.min()
        return bool(apart <= APART * whole)
    except (ValueError, RuntimeError):  # what MLX raises where shapes do not fit
        return False
