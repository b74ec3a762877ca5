"""The workload of recorded conversations: each assistant turn is asked for again, behind its history.

A file is JSON Lines. A line is a conversation ({"messages", "tools"}, as in files for fine-tuning), or one
request ({"messages", "tools", ...} that ends before the answer, alone or in `body`). Requests that go on from
one another are one conversation.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from proxy.ab.client import StreamedAnswer
from proxy.ab.judge import JudgedTurn
from proxy.ab.workload import DueRequest, WorkItem, Workload
from proxy.conversation.errors import StartError

# Fields of a recorded request that every arm is to get as well.
_KEPT = ("tool_choice", "parallel_tool_calls", "response_format", "stop", "reasoning_effort")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request of a recording, up to the answer. label: of the conversation, where there is one."""

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""


def recorded_workload(path: Path) -> Workload:
    """The conversations of a file. Raises StartError for a file without any; a line that cannot be read stops
    it too, because figures over a part of the recording would look like figures over all of it.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{path} cannot be read: {error}") from error
    requests: list[list[RecordedRequest]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            requests.append(read_line(line, f"{path}, line {number}"))
    items = to_items(requests)
    if not items:
        raise StartError(f"{path}: there is no conversation with an assistant's turn in it")
    return Workload(f"{len(items)} recorded conversations of {path.name}", items)


def read_line(line: str, place: str) -> list[RecordedRequest]:
    """The requests of one line: one for each assistant's message, or the one that the line is. place: for
    messages. Raises StartError.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StartError(f"{place}: not JSON: {error}") from error
    if isinstance(value, dict) and isinstance(value.get("body"), dict):
        value = {**value["body"], "session": value.get("session", "")}
    if not isinstance(value, dict):
        raise StartError(f"{place}: a JSON object with messages is needed, got {type(value).__name__}")
    messages, tools = value.get("messages"), value.get("tools") or []
    if not _objects(messages) or not messages:
        raise StartError(f"{place}: `messages` must be a list of objects with a role each")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise StartError(f"{place}: `tools` must be a list of objects")
    extra = {name: value[name] for name in _KEPT if name in value}
    label = str(value.get("session") or "")
    return _requests(tuple(messages), tuple(tools), extra, label)


def _objects(messages: Any) -> bool:
    return isinstance(messages, list) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages
    )


def _requests(
    messages: tuple[Mapping[str, Any], ...],
    tools: tuple[Mapping[str, Any], ...],
    extra: Mapping[str, Any],
    label: str,
) -> list[RecordedRequest]:
    if messages[-1]["role"] != "assistant":
        return [RecordedRequest(messages, tools, extra, label)]
    ends = [at for at, one in enumerate(messages) if one["role"] == "assistant" and at]
    return [RecordedRequest(messages[:end], tools, extra, label) for end in ends]


def to_items(lines: Iterable[Sequence[RecordedRequest]]) -> tuple[WorkItem, ...]:
    """The conversations of the lines: those of one label, or else those of which each begins with the one
    before it, are one.
    """
    found: list[list[RecordedRequest]] = []
    ends: dict[object, list[list[RecordedRequest]]] = defaultdict(list)  # by what the next request looks for
    for requests in lines:
        if not requests:
            continue
        before = next((ends[key].pop() for key in _may_follow(requests[0]) if ends.get(key)), None)
        if before is None:
            found.append(before := [])
        before += requests
        ends[_end(requests[-1])].append(before)
    return tuple(
        WorkItem(f"{number}", number, len(requests), partial(Replay, tuple(requests)))
        for number, requests in enumerate(found, 1)
    )


def _end(request: RecordedRequest) -> object:
    """By what a request that goes on from this one finds its conversation: the label, else the messages."""
    return request.label or _beginnings(request.messages)[-1]


def _may_follow(request: RecordedRequest) -> Iterator[object]:
    """The ends that this request may go on from, the nearest one first."""
    if request.label:
        yield request.label
    else:
        yield from reversed(_beginnings(request.messages)[:-1])


def _beginnings(messages: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """A digest of each beginning of the messages, the shortest first."""
    found, so_far = [], hashlib.sha256()
    for message in messages:
        so_far.update(json.dumps(message, sort_keys=True).encode())
        found.append(so_far.digest())
    return found


class Replay:
    """Asks each recorded request in turn. What an arm answers does not change the next one: the history and
    the results of tools are the recording's.
    """

    independent = True

    def __init__(self, requests: Sequence[RecordedRequest]) -> None:
        self._requests = requests
        self._asked = 0

    def next(self) -> DueRequest | None:
        if self._asked == len(self._requests):
            return None
        request = self._requests[self._asked]
        self._asked += 1
        return DueRequest(request.messages, request.tools, None, self._asked, request.extra)

    def take(self, answer: StreamedAnswer, judged: JudgedTurn) -> None:
        """Nothing: the next request is the recording's."""

    def tasks(self) -> None:
        return None
