"""Judges what a client was sent, on the wire alone: calls against the schemas of its request, errors, ends.

It knows nothing of fortieth: no header of ours is read. The shapes are those of the APIs' public
documentation: chat completions, Anthropic's Messages, OpenAI's Responses.
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from tests.clients.recorder import Answered, Asked, End, Recorder

# Of answers and of nothing else: those of counts and the like hold no calls.
_CHAT, _MESSAGES, _RESPONSES = "/chat/completions", "/messages", "/responses"
DIALECTS = (_CHAT, _MESSAGES, _RESPONSES)
# An SDK that asks for a thread goes on without one where it is refused so: no failure.
_GOES_ON = "thread_unsupported_request"
_UNANSWERED = "no end of the answer by the end of the run"
# What a client's own shell is to run.
_SCRIPT = "lookup.sh"
# Of tools whose input is free text, and of functions that are declared without a schema.
FREE: Mapping[str, Any] = {}
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was delivered. arguments: None where they are no JSON object. valid: by the schema of a
    tool that the request declares.
    """

    name: str
    arguments: Mapping[str, Any] | None
    valid: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer was. error: "" for none; an answer that breaks off before its end is one too."""

    calls: tuple[Call, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class OnWire:
    """What a client was sent by a real model's server (tests.clients.witness). prompt: tokens of the first
    prompt with tools; 0 where the server did not tell. calls: delivered ones; invalid: those of them that
    break their schemas. errors: of the API.
    """

    prompt: int
    answers: int
    calls: int
    invalid: int
    errors: tuple[str, ...]


class Witness(Recorder):
    """Keeps all exchanges of the clients that come to it."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.seen: list[Answered] = []
        self.waiting: list[Asked] = []

    def asked(self, asked: Asked) -> None:
        with self.lock:
            self.waiting.append(asked)

    def answered(self, answered: Answered) -> None:
        with self.lock:
            self.seen.append(answered)
            self.waiting.remove(answered.asked)

    def verdicts(self) -> list[Verdict]:
        """Of each answer, in the order of their ends; then of what was never answered to its end."""
        self.settle()
        with self.lock:
            seen, waiting = list(self.seen), list(self.waiting)
        judged = [judge(one) for one in seen if _dialect(one.asked)]
        return judged + [Verdict(error=_UNANSWERED) for one in waiting if _dialect(one)]

    def first(self) -> Asked | None:
        """The first request that declares tools, of those that were answered if there is one."""
        with self.lock:
            seen = sorted(self.seen, key=lambda one: one.status != 200)
        asked = [one.asked for one in seen if _dialect(one.asked)]
        return next((one for one in asked if schemas(_object(one.body))), None)


def _dialect(asked: Asked) -> str:
    path = asked.path.partition("?")[0].rstrip("/")
    return next((one for one in DIALECTS if path.endswith(one)), "")


def judge(answered: Answered) -> Verdict:
    """The verdict on one answer. Where the client itself left half-way, nothing is said of the end."""
    text = answered.body.decode(errors="replace")
    if not answered.status:
        return Verdict(error="no answer")
    if answered.status == 400 and _GOES_ON in text:
        return Verdict()
    if answered.status >= 400:
        return Verdict(error=f"{answered.status}: {' '.join(text.split())[:300]}")
    asked = _object(answered.asked.body)
    dialect = _dialect(answered.asked)
    streamed = bool(asked.get("stream"))
    told = list(events(text)) if streamed else [_object(answered.body)]
    error = next((json.dumps(one)[:300] for one in told if _is_error(one)), "")
    whole = answered.end is End.whole and _has_end(dialect, text, told, streamed)
    if not error and not whole and answered.end is not End.left:
        error = f"no end: {text[-200:]}"
    written = _READERS[dialect](told, streamed)
    known = schemas(asked)
    return Verdict(tuple(_judged(name, arguments, known) for name, arguments in written), error)


def events(text: str) -> Iterator[dict[str, Any]]:
    """The data of server-sent events that are JSON objects."""
    for block in text.split("\n\n"):
        data = "\n".join(line[5:].lstrip(" ") for line in block.split("\n") if line.startswith("data:"))
        found = _object(data.encode())
        if found:
            yield found


def schemas(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The schema of each declared tool, by its name, in any of the dialects; those of a namespace too."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in body.get("tools") or ():
        inner = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        if tool.get("type") == "namespace":
            found |= schemas(tool)
        elif tool.get("type") == "custom":
            found[str(inner.get("name"))] = FREE
        elif inner.get("name"):
            found[str(inner["name"])] = inner.get("parameters") or inner.get("input_schema") or ANY_OBJECT
    return found


def _judged(name: str, arguments: str, known: Mapping[str, Mapping[str, Any]]) -> Call:
    if known.get(name) is FREE:
        return Call(name, {"input": arguments}, True)
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return Call(name, None, False)
    return Call(name, value, name in known and jsonschema_rs.is_valid(dict(known[name]), value))


_Written = Iterable[tuple[str, str]]


def _of_chat(told: list[dict[str, Any]], streamed: bool) -> _Written:
    calls: dict[int, list[str]] = {}
    for one in told:
        for choice in one.get("choices") or ():
            part = choice.get("delta" if streamed else "message") or {}
            for number, call in enumerate(part.get("tool_calls") or ()):
                function = call.get("function") or {}
                kept = calls.setdefault(call.get("index", number), ["", ""])
                kept[0] += function.get("name") or ""
                kept[1] += function.get("arguments") or ""
    return [(name, arguments) for name, arguments in calls.values()]


def _of_messages(told: list[dict[str, Any]], streamed: bool) -> _Written:
    if not streamed:
        blocks = told[0].get("content") or ()
        return [(one["name"], json.dumps(one["input"])) for one in blocks if one.get("type") == "tool_use"]
    calls: dict[int, list[str]] = {}
    for one in told:
        block = one.get("content_block") or {}
        if one.get("type") == "content_block_start" and block.get("type") == "tool_use":
            calls[one["index"]] = [block["name"], ""]
        elif one.get("type") == "content_block_delta" and one.get("index") in calls:
            calls[one["index"]][1] += one["delta"].get("partial_json") or ""
    return [(name, arguments) for name, arguments in calls.values()]


def _of_responses(told: list[dict[str, Any]], streamed: bool) -> _Written:
    done = [one["item"] for one in told if one.get("type") == "response.output_item.done"]
    items = done if streamed else told[0].get("output") or ()
    for item in items:
        if item.get("type") == "function_call":
            yield item["name"], item["arguments"]
        elif item.get("type") == "custom_tool_call":
            yield item["name"], item["input"]


_READERS = {_CHAT: _of_chat, _MESSAGES: _of_messages, _RESPONSES: _of_responses}
_LAST = {_MESSAGES: ("message_stop",), _RESPONSES: ("response.completed", "response.incomplete")}


def _has_end(dialect: str, text: str, told: list[dict[str, Any]], streamed: bool) -> bool:
    if not streamed:
        return bool(told[0])
    if dialect == _CHAT:
        reasons = (choice.get("finish_reason") for one in told for choice in one.get("choices") or ())
        return any(reasons) and text.rstrip().endswith("data: [DONE]")
    return bool(told) and told[-1].get("type") in _LAST[dialect]


def _is_error(event: Mapping[str, Any]) -> bool:
    named = event.get("type") in ("error", "response.failed")
    return named or (event.get("error") is not None and "choices" not in event and "output" not in event)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def port_of(base_url: str) -> int:
    """Of a server on this machine. Raises ValueError."""
    port = urllib.parse.urlsplit(base_url).port
    if port is None:
        raise ValueError(f"{base_url} names no port")
    return port


def on_wire(witness: Witness, base_url: str) -> OnWire:
    """What a client was sent. base_url: of the server itself, which counts the tokens."""
    verdicts = witness.verdicts()
    calls = [call for one in verdicts for call in one.calls]
    first = witness.first()
    return OnWire(
        count_tokens(base_url, first) if first else 0,
        len(verdicts),
        len(calls),
        sum(not call.valid for call in calls),
        tuple(one.error for one in verdicts if one.error),
    )


def count_tokens(base_url: str, asked: Asked) -> int:
    """Of the prompt that a request becomes, as the server itself counts it; 0 where it does not."""
    path = asked.path.partition("?")[0]
    counts = {"/messages": f"{path}/count_tokens", "/responses": f"{path}/input_tokens"}
    url = base_url.removesuffix("/v1") + next(
        (counts[end] for end in counts if path.endswith(end)), "/tokenize"
    )
    headers = {"content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, asked.body, headers), timeout=60) as answer:
            told = json.loads(answer.read())
    except (OSError, ValueError):
        return 0
    return int(told.get("input_tokens") or told.get("count") or 0)


def unasked(executions: Sequence[Any], witness: Witness, tool: str) -> list[Any]:
    """Executions that no delivered valid call asked for; each call asks for as many as it says.

    executions: of `tool`, the arguments; of a client's own shell, the words after `sh lookup.sh`.
    """
    calls = [call for verdict in witness.verdicts() for call in verdict.calls if call.valid]
    asked = [call.arguments or {} for call in calls if call.name == tool]
    commands = [json.dumps(dict(call.arguments or {}), ensure_ascii=False) for call in calls]
    scripts = [command for command in commands for _ in range(command.count(_SCRIPT))]
    return [one for one in executions if not _taken(one, asked, scripts)]


def _taken(execution: Any, asked: list[Mapping[str, Any]], scripts: list[str]) -> bool:
    """Takes the call that asks for an execution out of those that are left; False where there is none."""
    if isinstance(execution, Mapping):
        if found := execution in asked:
            asked.remove(execution)
        return found
    words = str(execution).split()
    command = next((one for one in scripts if all(word in one for word in words)), None)
    if command is not None:
        scripts.remove(command)
    return command is not None
