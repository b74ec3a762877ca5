"""One chain for the tests of this folder: loading LiteLLM takes seconds."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.guard.policy import GuardPolicy, ReaskLimits
from tests.proxy.upstreams.stage import Hosted, hosted
from tests.proxy.upstreams.wire import WireUpstream, told


@pytest.fixture(scope="session")
def chain() -> Iterator[Hosted]:
    policy = GuardPolicy(reask=ReaskLimits(attempts=2))
    wire = WireUpstream(told("Hello", " there."), [{"id": "wire", "max_model_len": 4321}])
    with hosted(wire, policy) as stage:
        yield stage


@pytest.fixture(autouse=True, scope="module")
def leftovers() -> Iterator[None]:
    """LiteLLM keeps its clients by address and leaves their idle connections to the collector, which would
    tell of them in whatever test runs then.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The same, while the tests of this folder run."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))
