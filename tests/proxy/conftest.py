"""Servers shared by the tests of this folder: starting one takes longer than most tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from proxy.conversation.verdict import GiveUp
from proxy.guard.policy import GuardPolicy
from proxy.http.routes import Limits
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.attempts import Ring, ring
from tests.proxy.live import LiveServer, LoopThread, Playbook, serving


@dataclass(frozen=True, slots=True)
class Stage:
    """A live server and the playbook that its upstream plays from."""

    server: LiveServer
    playbook: Playbook
    upstream: ScriptedUpstream


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    playbook = Playbook(Script(("Hello", " there.")))
    upstream = ScriptedUpstream(playbook)
    with serving(upstream, limits=Limits(max_body_bytes=4 * 1024 * 1024, keep_alive_s=0.05)) as server:
        yield Stage(server, playbook, upstream)


@pytest.fixture(scope="session")
def thread() -> Iterator[LoopThread]:
    """The loop that servers of single tests run on."""
    own = LoopThread()
    yield own
    own.close()


@pytest.fixture(scope="session")
def full() -> Iterator[Ring]:
    """A server in the guard's default mode, which tells in words what it gives up."""
    with ring(GuardPolicy(drift=None, give_up=GiveUp.text)) as stage:
        yield stage
