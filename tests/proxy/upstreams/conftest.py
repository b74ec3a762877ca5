"""One chain for the tests of this folder: loading LiteLLM takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.guarding.policy import GuardPolicy, ReaskLimits
from tests.proxy.upstreams.stage import Hosted, hosted
from tests.proxy.upstreams.wire import WireUpstream, told


@pytest.fixture(scope="session")
def chain() -> Iterator[Hosted]:
    policy = GuardPolicy(reask=ReaskLimits(attempts=2))
    wire = WireUpstream(told("Hello", " there."), [{"id": "wire", "max_model_len": 4321}])
    with hosted(wire, policy) as stage:
        yield stage
