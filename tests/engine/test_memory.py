"""The KV budget: what a token costs, what the machine has, and what that means for the context."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import EngineConfig
from engine.errors import EngineFailed
from engine.memory import KvCost, kv_budget, machine_memory
from engine.model import load_model

GB = 2**30
PER_TOKEN = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, width, bytes: the tiny model's


@pytest.mark.parametrize(
    ("asked", "limit", "weights", "on_gpu", "expected"),
    [
        (5 * GB, 100 * GB, 90 * GB, True, 5 * GB),
        (None, 100 * GB, 30 * GB, True, 60 * GB),
        (None, 100 * GB, 30 * GB, False, 30 * GB),
        (None, 16 * GB, 15 * GB, False, int(16 * GB * 0.6) // 16),
    ],
)
def test_budget(asked: int | None, limit: int, weights: int, on_gpu: bool, expected: int) -> None:
    assert kv_budget(asked, limit, weights, on_gpu) == expected


def test_tokens_that_fit() -> None:
    assert KvCost(fixed=0, per_token=100).tokens(1050) == 10
    assert KvCost(fixed=500, per_token=0).tokens(10) > 10**15


def test_the_machine_has_some_memory() -> None:
    assert 2**26 < machine_memory() < 2**50


def test_a_budget_limits_the_context_that_is_offered(tiny: Path) -> None:
    def info(budget: int | None) -> tuple[int, int]:
        loaded = load_model(EngineConfig(model=str(tiny), kv_budget=budget), "").info
        return loaded.kv_tokens, loaded.context_length

    assert info(100 * PER_TOKEN) == (100, 100)
    assert info(10_000 * PER_TOKEN) == (10_000, 512)
    assert info(None)[1] == 512
    with pytest.raises(EngineFailed, match="no memory"):
        info(PER_TOKEN)
