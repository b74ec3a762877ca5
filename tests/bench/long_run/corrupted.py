"""A model server that knows the right calls of each conversation and writes them wrongly, or fails."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from corpora.malformations.specimen import ARGUMENTS, Specimen, Written, equal
from corpora.malformations.table import MALFORMATIONS, damage
from corpora.world.base import Call
from proxy.ab.corrupted import CorruptedCase, load_corrupted
from proxy.ab.judge import DeliveredCall
from proxy.ab.workload import DueRequest
from proxy.upstreams.scripted import Stall
from repair.formats import FORMATS
from repair.jsonl import read_tools
from repair.types import ToolDefinition
from tests.clients.upstream import whole
from tests.proxy.upstreams.wire import Cut, Reply, WireUpstream, called, refused, told, wire_serving

MODEL = "corrupted"
SILENCE_S = 4  # that fortieth waits for this upstream
RIGHT_FROM = 2  # times asked for one turn, after which the answer is right
# Turns of which so many attempts are wrong: the guard has to give up each request.
HOPELESS, HOPELESS_ATTEMPTS = 0.01, 6
# Formats whose markers stand in the text whatever the model's name is.
_FORMATS = tuple(name for name in FORMATS if FORMATS[name].OPENERS)
_MARK = re.compile(r"conversation (\d+-\d+)\b")
_KINDS = ("right", "damaged", "arguments", "corpus", "loop", "length", "cut", "stall", "refused", "failed")
_WEIGHTS = (32, 30, 10, 10, 3, 3, 5, 1, 3, 3)


@dataclass(slots=True)
class DueTurn:
    """What is right now in one conversation.

    hopeless: several requests have to be given up.
    asked: attempts so far.
    wrote: the last one that was damaged, with the damage.
    meant: calls that a reader may find in those that were damaged.
    """

    calls: tuple[Call, ...]
    tools: Sequence[ToolDefinition]
    rng: Random
    hopeless: bool
    asked: int = 0
    wrote: str = ""
    meant: list[tuple[tuple[str, dict[str, Any]], ...]] = field(default_factory=list)


class CorruptedModel(WireUpstream):
    """Is told by the agents what is due, and finds a conversation by the mark in its system prompt."""

    def __init__(self) -> None:
        super().__init__(told("Nothing is due."), [{"id": MODEL, "max_model_len": 100_000}])
        self._due: dict[str, DueTurn] = {}
        self._lock = threading.Lock()
        self._corpus = [case for case in load_corrupted() if case.channel == "content"]
        self.out = False
        self.did: dict[str, int] = dict.fromkeys((*_KINDS, "out"), 0)

    def expect(self, mark: str, due: DueRequest, turn: int) -> None:
        """Says what is due next in a conversation, whose turns so far are `turn`."""
        rng = Random(f"{mark}:{turn}")
        calls = due.due or ()
        tools = tuple(tool.definition for tool in read_tools(list(due.tools)))
        with self._lock:
            self._due[mark] = DueTurn(calls, tools, rng, bool(calls) and rng.random() < HOPELESS)

    def wrote(self, mark: str) -> str:
        """What was written last in a conversation, and how it had been damaged."""
        with self._lock:
            due = self._due.get(mark)
            return due.wrote if due else ""

    def means(self, mark: str, calls: Sequence[DeliveredCall]) -> bool:
        """Whether calls are those of something that was written for the last turn of a conversation."""
        got = [[call.name, call.value] for call in calls]
        with self._lock:
            due = self._due.get(mark)
            return due is not None and any(equal(got, [list(one) for one in held]) for held in due.meant)

    def forget(self, mark: str) -> None:
        with self._lock:
            self._due.pop(mark, None)

    def choose(self, body: dict[str, Any]) -> Reply:
        self.heard.clear()  # hours of requests are not kept
        found = _MARK.search(json.dumps(body["messages"]))
        with self._lock:
            due = self._due.get(found.group(1)) if found else None
            if self.out:
                self.did["out"] += 1
                return Reply((Cut(),))
            reply = self.default if due is None else self._reply(due)
        return reply if body.get("stream") or reply.status != 200 or _is_faulty(reply) else whole(reply)

    def _fitting(self, tools: Sequence[ToolDefinition]) -> Sequence[CorruptedCase]:
        """The cases that mean something here: one that is to be refused may be right for other tools of the
        same names.
        """
        names = [tool.name for tool in tools]
        return [case for case in self._corpus if case.calls or not any(name in case.text for name in names)]

    def _reply(self, due: DueTurn) -> Reply:
        due.asked += 1
        kind = due.rng.choices(_KINDS, _WEIGHTS)[0]
        if due.hopeless and due.asked <= HOPELESS_ATTEMPTS:
            kind = "corpus"
        elif due.asked > RIGHT_FROM:
            kind = "right"
        self.did[kind] += 1
        calls = [(call.name, json.dumps(call.arguments)) for call in due.calls]
        right = called(*calls) if calls else told("It is ", "done.")
        match kind:
            case "damaged" if calls:
                return _damaged(due, due.rng.choice(_FORMATS)) or right
            case "arguments" if len(calls) == 1:
                return _damaged(due, ARGUMENTS) or right
            case "corpus":
                case = due.rng.choice(self._fitting(due.tools))
                if case.calls:
                    due.meant.append(tuple((one.name, dict(one.arguments)) for one in case.calls))
                return told(case.text or "...")
            case "loop":
                return told(*["I will look into this at once. "] * 200)
            case "length" if calls:
                return called((calls[0][0], calls[0][1][:-3] or "{"), finish="length")
            case "cut":
                return Reply((*right.steps[: max(1, len(right.steps) // 2)], Cut()))
            case "stall":
                return Reply((right.steps[0], Stall(SILENCE_S * 3)))
            case "refused":
                return refused(429, "slow down", headers={"retry-after": "1"})
            case "failed":
                return refused(500, "out of memory")
        return right


def _is_faulty(reply: Reply) -> bool:
    return not all(isinstance(step, bytes) for step in reply.steps)


def _damaged(due: DueTurn, format: str) -> Reply | None:
    """The due calls, damaged in one way that this format can have; None where none of a few tries fits."""
    truth = tuple((call.name, dict(call.arguments)) for call in due.calls)
    written = tuple(Written(name, value, "") for name, value in truth)
    specimen = Specimen(format, tuple(due.tools), truth, written)
    for _ in range(8):
        found = damage(specimen, due.rng.choice(MALFORMATIONS), due.rng)
        if found is not None and found.choice == "auto" and not _is_told(found):
            due.wrote = f"{format} {found.done} {found.text!r}"
            said = tuple((one.name, one.value) for one in found.written)
            due.meant += [found.truth, said]  # what was said stays as it is where the schema allows it
            if format == ARGUMENTS:
                return called((found.written[0].name, found.text), finish=_finish(found, "tool_calls"))
            return told(*_pieces(found.text), finish=_finish(found, "stop"))
    return None


def _is_told(specimen: Specimen) -> bool:
    """Whether a client is to get all of it as text: a call that is quoted or shown was not meant as one."""
    return specimen.content == specimen.text and not specimen.ask_again


def _finish(specimen: Specimen, usual: str) -> str:
    return usual if specimen.finish == "stop" else specimen.finish


def _pieces(text: str, size: int = 9) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@contextmanager
def corrupted_model() -> Iterator[CorruptedModel]:
    """Serves one on a free port, in a thread of its own, until the block ends."""
    model = CorruptedModel()
    with wire_serving(model):
        yield model
