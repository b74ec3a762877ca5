"""What a GPU has computed before the first request; here on a CPU that is called one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import msgspec
import pytest

from engine import warm_up as module
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.tuning import CUDA
from engine.warm_up import ANSWER, PROMPTS, TOGETHER, warm_up


class Watched:
    """A network that notes the shapes of its inputs."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.layers = network.layers
        self.shapes: list[Sequence[int]] = []

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        self.shapes.append(tuple(inputs.shape))
        logits: mx.array = self._network(inputs, cache=cache)
        return logits


def on(loaded: LoadedModel, device: str) -> tuple[LoadedModel, Watched, EngineConfig]:
    network = Watched(loaded.network)
    info = msgspec.structs.replace(loaded.info, device=device)
    tuning = loaded.tuning if device == "cpu" else CUDA
    model = replace(loaded, network=network, info=info, tuning=tuning)
    return model, network, EngineConfig(model=loaded.info.path)


def test_a_cpu_starts_as_soon_as_before(loaded: LoadedModel) -> None:
    model, network, config = on(loaded, "cpu")
    assert warm_up(model, config) == 0
    assert network.shapes == []


def test_a_gpu_has_computed_the_usual_shapes(loaded: LoadedModel) -> None:
    model, network, config = on(loaded, "gpu")
    core = EngineCore(model, config)
    fits = [size for size in PROMPTS if size + ANSWER < model.info.context_length]
    assert warm_up(model, config, limit_s=600.0) == len(fits) + sum(TOGETHER)
    assert {(1, size) for size in (64, 128, 256)} <= set(network.shapes), "chunks as they are rounded there"
    assert {(rows, 1) for rows in (1, *TOGETHER)} <= set(network.shapes), "steps of batches"
    stats = core.stats()
    assert (stats.steps, stats.tokens_generated, stats.cache.segments) == (0, 0, 0), "nothing of it is kept"


def test_a_slow_device_is_not_waited_for(loaded: LoadedModel) -> None:
    model, network, config = on(loaded, "gpu")
    assert warm_up(model, config, limit_s=0.0) == 0
    assert network.shapes == []


def test_what_does_not_fit_is_left_out(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROMPTS", (8, 100_000))
    monkeypatch.setattr(module, "TOGETHER", (2,))
    model, _, config = on(loaded, "gpu")
    assert warm_up(model, config, limit_s=600.0) == 3
