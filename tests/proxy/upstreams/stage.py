"""fortieth over LiteLLM over a model server that plays faults, all on real ports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from proxy.guard.policy import GuardPolicy
from proxy.http.routes import Limits
from proxy.records.request_record import Sink
from proxy.upstreams.remote.litellm import LiteLLMUpstream, Routing
from proxy.upstreams.remote.target import Target
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.upstreams.wire import WireUpstream, wire_serving

KEY = "sk-wire-0123456789-secret"
ROUTING = Routing(cooldown_s=30, retries=1, window_s=20)


@dataclass(frozen=True, slots=True)
class Hosted:
    server: LiveServer
    wire: WireUpstream
    upstream: LiteLLMUpstream


@contextlib.contextmanager
def hosted(
    wire: WireUpstream,
    policy: GuardPolicy | None = None,
    *,
    sinks: Sequence[Sink] = (),
) -> Iterator[Hosted]:
    """The whole chain until the block ends. The model `brief` is the same with less patience."""
    thread = LoopThread()
    try:
        with wire_serving(wire):
            aim = Target(base_url=wire.base_url, api_key_env="WIRE_KEY")
            brief = aim.model_copy(update={"name": "brief", "model": "wire", "timeout_s": 1.5})
            upstream = thread.run(LiteLLMUpstream.start([aim, brief], ROUTING, {"WIRE_KEY": KEY}))
            limits = replace(Limits(), keep_alive_s=60)
            try:
                with serving(
                    upstream, policy=policy or GuardPolicy(), sinks=sinks, limits=limits, thread=thread
                ) as server:
                    yield Hosted(server, wire, upstream)
            finally:
                thread.run(upstream.close())
    finally:
        thread.close()
