"""The whole corpus through the guard over real HTTP: `make guard`.

Each case is played by an upstream that emits it, as text or as structured calls, streamed and not. Asked
again, the upstream either answers rightly, which takes understanding the correction, or says the same once
more, then something broken.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from proxy.conversation.message import Role
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.conversation.verdict import GiveUp
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script, ScriptedUpstream
from repair.events import Calls
from repair.formats import FORMATS
from repair.jsonl import read_tools, repair_request
from repair.split_turn import emit_as_it_is
from repair.stream import StreamParser
from repair.tools import ToolSet
from repair.types import ToolCall
from tests.proxy.attempts import Seen, read
from tests.proxy.live import serving
from tests.repair.corpus import CASES, TOOLS, request_of, seeded_random

# What a good model answers when it is asked again; no case has these values.
ANSWERS: dict[str, dict[str, Any]] = {
    "get_weather": {"city": "Answered"},
    "get_time": {"zone": "Answered"},
    "write_file": {"path": "answered", "content": "x"},
    "read_file": {"path": "answered"},
    "list_all": {"answered": True},
    "book": {"id": "answered", "seats": 2},
}
# The cases that hold one right call beside a wrong one: nowhere else may a call of a refused turn be kept.
_ONE_RIGHT = re.compile(
    r"one_bad_of_two|in_second_call|truncated_second_call|cut_in_the_second|name_stops_the_turn"
)
RIGHT: list[tuple[str, Any]] = [("get_weather", {"city": "Oslo"}), ("get_time", {"zone": "CET"})]
_REFUSED = re.compile(r"The (?:call of (\S+)|tool call) was not executed:")


@dataclass(frozen=True, slots=True)
class Play:
    """One case played one way. first: what the upstream emits. right: whether it answers rightly when asked
    again. truth: the calls that were meant, None where the case must not be executed as it is.
    """

    case: dict[str, Any]
    arm: str
    first: Script
    right: bool
    truth: tuple[tuple[str, Any], ...] | None

    @property
    def key(self) -> str:
        return f"{self.case['id']} {self.arm} {self.right}"

    @property
    def tools(self) -> ToolSet:
        return read_tools(TOOLS[self.case["tools"]])


def plays(cases: Iterable[dict[str, Any]]) -> Iterator[Play]:
    """Where nothing is asked again, what the upstream would answer makes no difference."""
    for case in cases:
        for arm, first in _firsts(case):
            truth = _truth(case)
            for right in (True, False) if truth is None else (True,):
                yield Play(case, arm, first, right, truth)


def _truth(case: dict[str, Any]) -> tuple[tuple[str, Any], ...] | None:
    if case["expect"] == "reask":
        return None
    return tuple((call["name"], call["arguments"]) for call in case.get("calls", []))


def _firsts(case: dict[str, Any]) -> Iterator[tuple[str, Script]]:
    text, finish = case["text"], case.get("finish_reason") or "stop"
    match case.get("channel", "content"):
        case "arguments":
            yield "calls", Script((UpstreamCall(case["tool_name"], text),), finish)
        case "name":
            if case["expect"] == "reask":  # the accepted ones have no arguments to be called with
                yield "calls", Script((UpstreamCall(text, "{}"),), finish)
        case _:
            options = {"format": case.get("format", "auto")}
            options["generation_prompt"] = case.get("generation_prompt", "")
            yield "text", Script(tuple(seeded_random(text)), finish, **options)
            calls = _as_structure(case)
            if calls:
                yield "calls", Script(calls, finish, **options)


def _as_structure(case: dict[str, Any]) -> tuple[UpstreamCall, ...]:
    """A case's calls as an upstream would hand them out that only looks at markers; none where it could
    not.
    """
    tools = read_tools(TOOLS[case["tools"]])
    parser = StreamParser(
        tools, case.get("format", "auto"), generation_prompt=case.get("generation_prompt", "")
    )
    events = [*parser.feed(case["text"]), *parser.close()]
    raws = [raw for event in events if isinstance(event, Calls) for raw in event.region.calls]
    calls = [emit_as_it_is(raw, tools) for raw in raws]
    found = [UpstreamCall(call.name, call.arguments) for call in calls if call is not None]
    wanted = case["expect"] == "calls" and len(found) == len(raws) == len(case["calls"])
    return tuple(found) if wanted else ()


class Model:
    """Plays the first answer of each case, then what its play says."""

    def __init__(self, plays: Iterable[Play]) -> None:
        self._plays = {play.key: play for play in plays}
        self.answered: dict[str, list[tuple[str, Any]]] = {}

    def __call__(self, request: ChatRequest) -> Script:
        play = self._plays[request.messages[0].text]
        if len(request.messages) == 1:
            self.answered[play.key] = []
            return play.first
        if play.right:
            return self._answer(request, play)
        return play.first if len(request.messages) < 5 else Script(("<tool_call>\n{",))

    def _answer(self, request: ChatRequest, play: Play) -> Script:
        """As many calls as the correction names, of the tools that it names; words where there are none."""
        if not play.tools:
            return Script(("It is sunny.",))
        last = max(i for i, one in enumerate(request.messages) if one.role is Role.assistant or i == 0)
        told = "\n".join(message.text for message in request.messages[last + 1 :])
        named: list[str] = _REFUSED.findall(told)
        usual = (
            request.tool_choice.name if request.tool_choice.mode is ToolMode.named else play.tools.names[0]
        )
        calls = [(name or usual, ANSWERS[name or usual]) for name in named]
        self.answered[play.key] += calls
        if play.arm == "calls":
            return Script(tuple(UpstreamCall(name, json.dumps(value)) for name, value in calls))
        made = tuple(ToolCall(name, json.dumps(value)) for name, value in calls)
        format = play.case.get("format", "auto")
        text = FORMATS["hermes" if format == "auto" else format].render(made)
        return Script((text,), format=format, generation_prompt=play.first.generation_prompt)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one play. faults: empty where all is as it must be. kept: calls of a refused turn that
    were delivered without being asked for again.
    """

    play: Play
    stream: bool
    seen: Seen
    faults: tuple[str, ...]
    kept: tuple[tuple[str, Any], ...] = ()

    @property
    def row(self) -> tuple[str, str, str, str]:
        when = "right when asked again" if self.play.right else "never right"
        expected = self.play.case["expect"]
        return (
            self.play.arm,
            "stream" if self.stream else "whole",
            expected,
            when if expected == "reask" else "",
        )


def run(cases: Iterable[dict[str, Any]]) -> Iterator[Judged]:
    """Every play of the cases over a real server, streamed and not."""
    playing = list(plays(cases))
    model = Model(playing)
    policy = GuardPolicy(drift=None, give_up=GiveUp.text)
    with (
        serving(ScriptedUpstream(model), policy=policy) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as client,
    ):
        for play, stream in itertools.product(playing, (False, True)):
            response = client.post("/chat/completions", json=_body(play, stream))
            yield judge(play, stream, read(response, stream), model.answered[play.key])


def hand_over(cases: Iterable[dict[str, Any]]) -> Iterator[tuple[Play, Seen, int]]:
    """Every play that never comes right, given up with `client`: what the client got, and how many of its
    calls a client that validates would execute.
    """
    playing = [play for play in plays(cases) if not play.right]
    policy = GuardPolicy(drift=None, give_up=GiveUp.client)
    with (
        serving(ScriptedUpstream(Model(playing)), policy=policy) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as client,
    ):
        for play in playing:
            seen = read(client.post("/chat/completions", json=_body(play, True)), True)
            executable = [
                (name, value)
                for name, arguments in seen.calls
                if (tool := play.tools.get(name)) is not None
                and tool.schema.validator.is_valid(value := json.loads(arguments))
            ]
            right = RIGHT if _ONE_RIGHT.search(play.case["id"]) else []
            yield play, seen, sum(call not in right for call in executable)


def _body(play: Play, stream: bool) -> dict[str, Any]:
    case = play.case
    body = {
        "model": "scripted",
        "messages": [{"role": "user", "content": play.key}],
        "tools": [{"type": "function", "function": tool} for tool in TOOLS[case["tools"]]],
        "stream": stream,
    }
    return {**body, **{key: case[key] for key in ("tool_choice", "parallel_tool_calls") if key in case}}


def judge(play: Play, stream: bool, seen: Seen, answered: list[tuple[str, Any]]) -> Judged:
    """Holds what the client got against what was meant."""
    faults: list[str] = []
    if seen.status != 200 or seen.error:
        return Judged(play, stream, seen, (f"status {seen.status}: {seen.error}",))
    calls: list[tuple[str, Any]] = []
    for name, arguments in seen.calls:
        tool = play.tools.get(name)
        value = json.loads(arguments)
        calls.append((name, value))
        if tool is None or not tool.schema.validator.is_valid(value):
            faults.append(f"not valid: {name} {arguments}")
    kept: list[tuple[str, Any]] = []
    if play.truth is not None and (seen.verdict != "reasked" or not play.truth):
        if calls != list(play.truth):
            faults.append(f"wrong: {calls} instead of {list(play.truth)}")
    elif play.right:
        due = list(answered)
        for call in calls:
            if call in due:
                due.remove(call)
            else:
                kept.append(call)
        faults += _faults_of_saved(play, seen, kept)
    elif (seen.verdict, seen.calls) != ("failed", ()) or seen.attempts > 3:
        faults.append(f"{seen.verdict} after {seen.attempts} attempts: {seen.calls}")
    elif not seen.told.endswith(".]"):
        faults.append("the answer does not say what happened")
    elif play.arm == "text" and (seen.content.rstrip("\n"), seen.reasoning) != _own_text(play):
        faults.append(f"text lost: {seen.content!r}")
    return Judged(play, stream, seen, tuple(faults), tuple(kept))


def _faults_of_saved(play: Play, seen: Seen, kept: list[tuple[str, Any]]) -> list[str]:
    if seen.verdict != "reasked" or not seen.calls:
        return [f"not saved: {seen.verdict} after {seen.attempts} attempts"]
    allowed = list(play.truth or ())
    if _ONE_RIGHT.search(play.case["id"]):
        allowed = RIGHT
    return [f"wrong: {call} was never meant" for call in kept if call not in allowed]


def _own_text(play: Play) -> tuple[str, str]:
    """Without the line breaks at its end: they count among those that set the guard's words apart."""
    answer = repair_request(request_of(play.case))
    return answer["content"].rstrip("\n"), answer["reasoning"]


def main() -> int:
    """Prints a table and every fault; 1 if there is one."""
    logging.disable(logging.WARNING)  # a line for each turn that was mended or refused
    totals: Counter[tuple[str, str, str, str]] = Counter()
    verdicts: Counter[tuple[tuple[str, str, str, str], str]] = Counter()
    kept, delivered, bad = 0, 0, 0
    for judged in run(CASES):
        totals[judged.row] += 1
        verdicts[judged.row, judged.seen.verdict] += 1
        kept += len(judged.kept)
        delivered += len(judged.seen.calls)
        for fault in judged.faults:
            bad += 1
            print(f"{judged.play.key} {'stream' if judged.stream else 'whole'}: {fault}")
    for row, count in sorted(totals.items()):
        shares = {name: number for (of, name), number in sorted(verdicts.items()) if of == row}
        told = ", ".join(f"{name} {number}" for name, number in shares.items())
        print(f"{row[0]:6} {row[1]:7} {row[2]:6} {row[3]:23} {count:5}  {told}")
    handed = list(hand_over(CASES))
    for play, seen, executable in handed:
        if executable:
            bad += 1
            print(f"{play.key}: handed over and executable: {seen.calls}")
    went = sum(bool(seen.calls) for _, seen, _ in handed)
    print(f"given up with `client`: {len(handed)} turns, {went} as calls that are refused, others as text")
    turns = sum(totals.values())
    print(f"{turns} turns, {delivered} calls delivered, {bad} faults; from refused turns kept {kept}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
