"""Frames, errors and settings: what crosses between the processes stays what it was."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.errors import (
    ContextOverflow,
    DeadlineExceeded,
    EngineError,
    EngineFault,
    InvalidRequest,
    QueueFull,
    from_failed,
    to_failed,
)
from engine.frames import (
    LENGTH,
    MAX_FRAME,
    Abort,
    BrokenFrame,
    Events,
    Load,
    Stop,
    Submit,
    ToWorker,
    client_reader,
    encode,
    worker_reader,
)
from engine.types import (
    Candidate,
    Failed,
    Finished,
    FinishReason,
    Priority,
    TextChunk,
    ThinkingLimit,
    TokenLogprob,
    WorkerStats,
)
from tests.engine.drive import request

TO_WORKER: list[ToWorker] = [
    Load(EngineConfig(model="m", context_limit=5)),
    Submit(request("é", (1, 2**31), logit_bias={3: -1.5}, seed=2**64 - 1)),
    Submit(request("p", priority=Priority.probe, session="s")),
    Submit(request("g", grammar="start: /a+/", deadline_s=1.5, thinking=ThinkingLimit(9, (3, 4)))),
    Abort("é"),
    Stop("é"),
]
EVENTS = Events(
    [
        TextChunk("a", "東\ud7ff", 3, (TokenLogprob(Candidate(1, b"\xe6", -0.5), ()),)),
        Finished(id="a", reason=FinishReason.stop, prompt_tokens=1, completion_tokens=2),
        Failed(id="b", code="x", message="y", detail={"n": 1, "f": 1.5, "s": "t"}),
    ],
    WorkerStats(running=1),
)


@given(st.lists(st.integers(0, 1000), max_size=10))
def test_frames_survive_any_cutting(cuts: list[int]) -> None:
    stream = b"".join(encode(frame) for frame in TO_WORKER)
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    reader = worker_reader()
    frames = [frame for a, b in itertools.pairwise(edges) for frame in reader.feed(stream[a:b])]
    assert frames == TO_WORKER


def test_events_come_back_as_they_were() -> None:
    assert client_reader().feed(encode(EVENTS)) == [EVENTS]


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\x00\x00\x01\xc1", LENGTH.pack(MAX_FRAME + 1), LENGTH.pack(3) + b"abc", encode(EVENTS)],
    ids=["no msgpack", "too long", "not a frame", "the other direction's"],
)
def test_what_is_no_frame_is_said_to_be(garbage: bytes) -> None:
    with pytest.raises(BrokenFrame):
        worker_reader().feed(garbage)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("top_p", "top_p must be"),
        ContextOverflow(10, 5),
        QueueFull(3.5),
        DeadlineExceeded(2.5),
        EngineFault("oops"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_as_itself(error: EngineError) -> None:
    (events,) = client_reader().feed(encode(Events([to_failed("r", error)], WorkerStats())))
    assert isinstance(events, Events)
    (failed,) = events.outputs
    assert isinstance(failed, Failed)
    back = from_failed(failed)
    assert type(back) is type(error)
    assert (str(back), back.detail()) == (str(error), error.detail())


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch": 0},
        {"queue_limit": -1},
        {"prefill_step": 8},
        {"context_limit": 1},
        {"prefill_share": 0.0},
        {"stall_timeout_s": 0.0},
        {"ready_wait_s": -1.0},
        {"dtype": "int8"},
        {"blas": "mkl"},
        {"log_level": "loud"},
        {"kv_budget": 0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EngineConfig(model="m", **wrong)
