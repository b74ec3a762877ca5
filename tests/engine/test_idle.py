"""What is over wakes nobody: whatever has happened, an engine without work rests until its heartbeat."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.frames import Abort, Events, Prefetch, Sessions, Submit, ToWorker
from engine.model import LoadedModel
from engine.step import StepResult
from engine.types import Priority, TextChunk
from engine.worker import Disconnected, Link, Worker
from tests.engine.drive import request

HEARTBEAT_S = 0.02
DEADLINES = (None, None, 0.001, 0.01, 0.06)
WATCHED_S = 0.1  # longer than any deadline: what it would wake, it wakes by then
SETTLING = 3  # turns of the loop in which an engine without requests may still put away what they left
GRAMMARS = (None, None, "start: /[ab]{1,4}/", "no grammar at all", 'start: "a" "b"?')
ABOUT = ("the same long beginning " * 6, "another subject " * 9, "short")


def requests() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "prompt": st.builds(
                lambda about, end: (about + end)[:200], st.sampled_from(ABOUT), st.text("xyz", max_size=3)
            ),
            "session": st.sampled_from(("", "s", "t")),
            "deadline_s": st.sampled_from(DEADLINES),
            "grammar": st.sampled_from(GRAMMARS),
            "priority": st.sampled_from((Priority.interactive, Priority.background)),
            "prefill_only": st.booleans(),
            "ephemeral": st.booleans(),
            "max_tokens": st.integers(1, 6),
        }
    )


STEPS = st.one_of(
    st.tuples(st.just("submit"), requests()),
    st.tuples(st.just("submit"), requests()),
    st.tuples(st.just("abort"), st.integers(0, 5)),
    st.tuples(st.just("turn"), st.integers(1, 4)),
    st.tuples(st.just("prefetch"), st.sampled_from(("s", "t"))),
    st.tuples(st.just("drop"), st.sampled_from(("s", "t"))),
    st.tuples(st.just("fault"), st.none()),
)


@dataclass
class History:
    """A link over which a history comes, a piece for each turn of the worker's loop; then it is watched.

    rests: how long the engine asked to be left alone when it had no request and none was to come.
    """

    core: EngineCore
    pieces: list[list[ToWorker] | None]  # None: the next step fails
    rests: list[float] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    until: float = 0.0

    def receive(self, timeout_s: float) -> list[ToWorker]:
        if self.pieces:
            piece = self.pieces.pop(0)
            if piece is None:
                fail_once(self.core)
            return piece or []
        if not self.core.busy:
            self.rests.append(timeout_s)
            self.until = self.until or time.monotonic() + WATCHED_S
            if time.monotonic() > self.until:
                raise Disconnected
        time.sleep(timeout_s)
        return []

    def send(self, frame: Any) -> None:
        if isinstance(frame, Events):
            self.ends += [event.id for event in frame.outputs if not isinstance(event, TextChunk)]


def fail_once(core: EngineCore) -> None:
    """The next step of the model raises."""
    works = core._runner.step

    def step(*arguments: int) -> StepResult:
        core._runner.step = works  # type: ignore[method-assign]
        raise RuntimeError("the model failed")

    core._runner.step = step  # type: ignore[assignment, method-assign]


def as_frames(steps: Sequence[tuple[str, Any]]) -> Iterator[list[ToWorker] | None]:
    sent: list[str] = []
    for kind, value in steps:
        match kind:
            case "submit":
                sent.append(f"r{len(sent)}")
                yield [Submit(request(sent[-1], **value))]
            case "abort":
                yield [Abort(id) for id in sent[-1 - value :][:1]]
            case "turn":
                yield from [[]] * value
            case "prefetch":
                yield [Prefetch(value)]
            case "drop":
                yield [Sessions(0, "drop", value)]
            case "fault":
                yield None


def watch(core: EngineCore, config: EngineConfig, steps: Sequence[tuple[str, Any]]) -> History:
    """Let the worker live through all of it, and some heartbeats more."""
    history = History(core, list(as_frames(steps)))
    with contextlib.suppress(Disconnected):
        Worker(cast(Link, history), core, config).run()
    return history


@pytest.fixture(scope="module")
def engine(
    loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EngineCore, EngineConfig]]:
    """With a cache in RAM that holds one conversation, so that others come back from the disk."""
    config = EngineConfig(
        model=loaded.info.path,
        max_batch=2,
        queue_limit=3,
        prefill_step=32,
        cache_ram=150_000,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
        heartbeat_s=HEARTBEAT_S,
    )
    core = EngineCore(loaded, config)
    yield core, config
    core.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
def test_without_work_it_rests_until_its_heartbeat(
    engine: tuple[EngineCore, EngineConfig], steps: list[tuple[str, Any]]
) -> None:
    core, config = engine
    history = watch(core, config, steps)
    early = [rest for rest in history.rests if rest != HEARTBEAT_S]
    assert set(early) <= {0.0}
    assert len(early) <= SETTLING
    assert history.rests[-1] == HEARTBEAT_S
    assert len(history.ends) == len(set(history.ends)), "one end for each"
    stats = core.stats()
    assert (stats.running, stats.waiting, stats.cache_bytes) == (0, 0, 0)


def test_a_deadline_that_was_met_wakes_nobody(engine: tuple[EngineCore, EngineConfig]) -> None:
    """Seen: a whole core, until the next request came."""
    core, config = engine
    history = watch(core, config, [("submit", {"prompt": "hi", "deadline_s": 0.05, "max_tokens": 1})])
    assert history.ends == ["r0"]
    assert history.rests.count(HEARTBEAT_S) >= len(history.rests) - SETTLING
