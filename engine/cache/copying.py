"""Computes large arrays, two at a time: on a CPU most of a copy is the system giving out fresh memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import mlx.core as mx

from engine.cache.throttle import Throttle

_own = threading.local()


def stream(number: int) -> mx.Stream:
    """One of this thread's two streams, whose work runs side by side."""
    return _one_of("streams", mx.default_device(), number)


def reading(number: int) -> mx.Stream:
    """The same for files, which MLX reads on the CPU by default, and on Metal nowhere else."""
    return _one_of("reading", mx.cpu, number)


def _one_of(name: str, device: mx.Device | mx.DeviceType, number: int) -> mx.Stream:
    if not hasattr(_own, name):
        setattr(_own, name, [mx.new_stream(device) for _ in range(2)])
    chosen: mx.Stream = getattr(_own, name)[number % 2]
    return chosen


def compute(arrays: Sequence[mx.array], breaks: Throttle, stop: Callable[[], bool] = lambda: False) -> None:
    """Computes the arrays in order: two at a time, or one at a time with breaks while requests decode.

    stop: asked before each array; whether the rest is not wanted any more.
    """
    at = 0
    while at < len(arrays) and not stop():
        together = 2 if breaks.hurried else 1
        with breaks.work():
            mx.eval(arrays[at : at + together])
        at += together
