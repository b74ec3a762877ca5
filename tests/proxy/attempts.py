"""An upstream that answers each request for one conversation with the next script, and a client that adds
up.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from proxy.conversation.message import Role
from proxy.conversation.request import ChatRequest
from proxy.guard.policy import GuardPolicy
from proxy.http.routes import Limits
from proxy.records.request_record import RequestRecord
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import STRUCTURED, Script, ScriptedUpstream
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import TOOLS


class Attempts:
    """Chooses the script by the conversation's first user message: the next of its scripts at each request,
    the last one again and again.
    """

    def __init__(self) -> None:
        self.scripts: dict[str, tuple[Script, ...]] = {}
        self.asked: dict[str, list[ChatRequest]] = {}
        self._counts: Counter[str] = Counter()

    def plan(self, key: str, *scripts: Script | str | UpstreamCall) -> str:
        made = [one if isinstance(one, Script) else Script((one,)) for one in scripts]
        self.scripts[key] = tuple(made)
        self.asked[key] = []
        self._counts[key] = 0
        return key

    def __call__(self, request: ChatRequest) -> Script:
        key = next(message.text for message in request.messages if message.role is Role.user)
        scripts = self.scripts[key]
        self.asked[key].append(request)
        count = self._counts[key]
        self._counts[key] += 1
        return scripts[min(count, len(scripts) - 1)]


class Accounts:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.kept: list[RequestRecord] = []

    def record(self, account: RequestRecord) -> None:
        self.kept.append(account)


@dataclass(frozen=True, slots=True)
class Ring:
    """A guarded server, what its upstream plays and was asked, and the accounts it gave."""

    server: LiveServer
    attempts: Attempts
    upstream: ScriptedUpstream
    accounts: Accounts


@contextlib.contextmanager
def ring(
    policy: GuardPolicy,
    limits: Limits | None = None,
    thread: LoopThread | None = None,
    capabilities: Capabilities = STRUCTURED,
) -> Iterator[Ring]:
    """A server of its own."""
    attempts, accounts = Attempts(), Accounts()
    upstream = ScriptedUpstream(attempts, capabilities=capabilities)
    with serving(upstream, policy=policy, sinks=(accounts,), limits=limits, thread=thread) as server:
        yield Ring(server, attempts, upstream, accounts)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client got, streamed or not. told: what the guard wrote behind the model's own content."""

    status: int
    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    verdict: str = ""
    attempts: int = 0
    fixes: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    give_up: str = ""
    told: str = ""


def ask(
    server: LiveServer, key: str, stream: bool, headers: dict[str, str] | None = None, **fields: Any
) -> Seen:
    """One turn of the conversation that begins with `key`."""
    messages = fields.pop("messages", [{"role": "user", "content": key}])
    body = {"model": "scripted", "messages": messages, "tools": TOOLS, "stream": stream, **fields}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return read(server.post(body, headers), stream)


def read(response: httpx.Response, stream: bool) -> Seen:
    """What a response to a chat request holds."""
    if response.status_code != 200:
        return Seen(response.status_code, error=response.json()["error"])
    return _streamed(response.text) if stream else _whole(response)


def agree(own: dict[str, Any], told: dict[str, str]) -> None:
    """The field `fortieth` says what the headers say, or a stream's comments. told: without x-fortieth-."""
    names = ("verdict", "fixes", "attempts", "give-up", "answer")
    assert {name: str(own[name.replace("-", "_")]) for name in names if name.replace("-", "_") in own} == {
        name: told[name] for name in names if name in told
    }
    assert own["session"]


def of_headers(response: httpx.Response) -> dict[str, str]:
    """The headers of our own, without x-fortieth-."""
    return {
        name.removeprefix("x-fortieth-"): value
        for name, value in response.headers.items()
        if name.startswith("x-fortieth-")
    }


def _whole(response: httpx.Response) -> Seen:
    body = response.json()
    agree(body["fortieth"], of_headers(response))
    assert of_headers(response)["session"]
    choice = body["choices"][0]
    message = choice["message"]
    calls = message.get("tool_calls", [])
    content, told = parted(message["content"])
    return Seen(
        200,
        content,
        message.get("reasoning_content", ""),
        tuple((call["function"]["name"], call["function"]["arguments"]) for call in calls),
        choice["finish_reason"],
        response.headers["x-fortieth-verdict"],
        int(response.headers["x-fortieth-attempts"]),
        int(response.headers["x-fortieth-fixes"]),
        body["usage"],
        give_up=response.headers.get("x-fortieth-give-up", ""),
        told=told,
    )


def _streamed(text: str) -> Seen:
    content, reasoning, reason, verdict = "", "", "", ""
    usage: dict[str, Any] = {}
    calls: list[list[str]] = []
    error: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for block in text.split("\n\n"):
        line = block.partition("\n")[0]
        if line.startswith(": x-fortieth-verdict: "):
            verdict = line.removeprefix(": x-fortieth-verdict: ")
        if not line.startswith("data: {"):
            continue
        chunk = json.loads(line.removeprefix("data: "))
        if "error" in chunk:
            error = chunk["error"]
            continue
        own = chunk.get("fortieth") or own
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            content += choice["delta"].get("content") or ""
            reasoning += choice["delta"].get("reasoning_content") or ""
            reason = choice["finish_reason"] or reason
            for part in choice["delta"].get("tool_calls", []):
                if "id" in part:
                    calls.append([part["function"]["name"], ""])
                calls[part["index"]][1] += part["function"]["arguments"]
    content, told = parted(content)
    counts = dict(item.split("=") for item in verdict.split("; ")[1:])
    if not error:
        agree(own, {"verdict": verdict.split(";")[0], **counts})
    return Seen(
        200,
        content,
        reasoning,
        tuple((name, arguments) for name, arguments in calls),
        reason,
        verdict.split(";")[0],
        int(counts.get("attempts", 0)),
        int(counts.get("fixes", 0)),
        usage,
        error,
        counts.get("give-up", ""),
        told,
    )


def parted(content: str | None) -> tuple[str, str]:
    """The model's own content, and what the guard wrote behind it of calls that could not be saved."""
    own, mark, told = (content or "").partition("[No tool was executed. ")
    return own.removesuffix("\n\n") if mark else own, mark + told
