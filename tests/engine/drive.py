"""Shared by the engine's tests: build requests, run a core until it is idle, collect what it said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.core import EngineCore
from engine.types import Failed, Finished, FinishReason, GenerateRequest, Priority, SamplingParams, TextChunk

PRINTABLE = dict.fromkeys(range(32, 127), 60.0)  # keeps a random model to readable text


OWN = (
    *("session", "priority", "grammar", "deadline_s", "thinking", "ephemeral", "prefill_only", "marks"),
    *("announce", "keep_s"),
)


def request(id: str = "r", prompt: str | tuple[int, ...] = "hello", **sampling: Any) -> GenerateRequest:
    """One byte of a string prompt is one token of the tiny model. Fields of the request pass through."""
    own = {name: sampling.pop(name) for name in OWN if name in sampling}
    tokens = tuple(prompt.encode()) if isinstance(prompt, str) else prompt
    params = SamplingParams(**{"max_tokens": 16, **sampling})
    return GenerateRequest(id=id, prompt=tokens, sampling=params, **own)


@dataclass
class Told:
    """Everything a core said of one request."""

    text: str = ""
    chunks: list[TextChunk] = field(default_factory=list)
    end: Finished | Failed | None = None

    @property
    def reason(self) -> FinishReason:
        assert isinstance(self.end, Finished), self.end
        return self.end.reason

    @property
    def tokens(self) -> int:
        assert isinstance(self.end, Finished), self.end
        return self.end.completion_tokens


def run(core: EngineCore, *requests: GenerateRequest, stagger: int = 0) -> dict[str, Told]:
    """Submit all (one every `stagger` steps) and step until idle. Every request must end exactly once."""
    told = {request.id: Told() for request in requests}
    pending = list(requests)
    steps = 0
    while pending or core.busy:
        while pending and (not stagger or steps % stagger == 0 or not core.busy):
            refused = core.submit(pending.pop(0))
            collect(told, [refused] if refused else [])
            if stagger:
                break
        if core.busy:
            collect(told, core.step())
        steps += 1
    assert all(one.end is not None for one in told.values())
    return told


def collect(told: dict[str, Told], events: list[Any]) -> None:
    for event in events:
        one = told[event.id]
        assert one.end is None, "an event after the last"
        if isinstance(event, TextChunk):
            one.text += event.text
            one.chunks.append(event)
        else:
            one.end = event


def alone(core: EngineCore, one: GenerateRequest) -> Told:
    return run(core, one)[one.id]


__all__ = ["PRINTABLE", "Priority", "Told", "alone", "collect", "request", "run"]
