"""What the tests of the cache share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.core import EngineCore
from engine.model import LoadedModel
from tests.engine.cache.computing import Bench
from tests.engine.cache.test_engine import Engines
from tests.engine.cache.test_layers import network


@pytest.fixture(params=["plain", "window", "hybrid"])
def bench(request: pytest.FixtureRequest, loaded: LoadedModel) -> Iterator[Bench]:
    bench = Bench(network(request.param, loaded))
    yield bench
    for cache in bench.caches:
        cache.close()


@pytest.fixture(params=["plain", "hybrid"])
def engines(request: pytest.FixtureRequest, loaded: LoadedModel) -> Iterator[Engines]:
    engines = Engines(loaded, request.param)
    yield engines
    for core in engines.cores:
        core.close()


@pytest.fixture
def core(loaded: LoadedModel) -> Iterator[EngineCore]:
    """An engine with the model that has plain layers only."""
    engines = Engines(loaded, "plain")
    yield engines.make()
    for core in engines.cores:
        core.close()
