"""Sessions over HTTP, with the real engine and a tiny model: what is reused, why not more, who is listed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from engine.config import EngineConfig
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, SessionId
from proxy.upstreams.engine import EngineUpstream
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.engine.tiny import make_model
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import user

END = 258  # <|im_end|>
SAID = dict.fromkeys(map(str, range(97, 123)), 60)  # letters only


@dataclass(frozen=True, slots=True)
class Stage:
    server: LiveServer
    upstream: EngineUpstream
    thread: LoopThread

    def ask(self, session: str, messages: list[Any], seed: int = 0) -> httpx.Response:
        """An answer of letters that ends by itself after a while."""
        bias = {**SAID, str(END): 60}
        fields = {"max_tokens": 400, "temperature": 1.0, "seed": seed, "logit_bias": bias}
        body = {"messages": messages, "prompt_cache_key": session, **fields}
        response = self.server.post(body)
        assert response.status_code == 200, response.text
        return response

    def url(self, path: str = "") -> str:
        return f"{self.server.base_url}/fortieth/sessions{path}"

    def row(self, session: str) -> Any:
        rows = httpx.get(self.url()).json()["data"]
        return next(row for row in rows if row["id"] == session)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    thread = LoopThread()
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model), max_batch=2), "tiny"), 120)
    with serving(upstream, thread=thread) as server:
        yield Stage(server, upstream, thread)
    thread.run(upstream.close())
    thread.close()


def read(header: str) -> dict[str, str]:
    return dict(part.split("=") for part in header.split("; "))


def first_turn(stage: Stage, session: str) -> tuple[list[Any], int]:
    """A conversation with one answer that ended by itself, and how many tokens the model has seen of it."""
    opening = [user("Tell me letters. " * 8)]
    for seed in range(50):
        response = stage.ask(session, opening, seed)
        choice, usage = response.json()["choices"][0], response.json()["usage"]
        if choice["finish_reason"] == "stop" and choice["message"]["content"]:
            return [*opening, choice["message"]], usage["prompt_tokens"] + usage["completion_tokens"]
    raise AssertionError("no answer ended by itself")


def test_a_turn_goes_on_from_the_answer_that_the_client_spells_otherwise(stage: Stage) -> None:
    history, seen = first_turn(stage, "goes-on")
    history[1]["content"] = f"  {history[1]['content']}\n"
    response = stage.ask("goes-on", [*history, user("More.")])
    details = response.json()["usage"]["prompt_tokens_details"]
    assert details["cached_tokens"] >= seen - 1, "its last token was never computed"
    told = read(response.headers["x-fortieth-cache"])
    assert told == {
        "tier": "ram",
        "reused": str(details["cached_tokens"]),
        "total": str(response.json()["usage"]["prompt_tokens"]),
        "cause": "none",
    }


@pytest.mark.parametrize(
    ("change", "cause", "message"),
    [
        (lambda history: history[0].update(content="Tell me others."), "foreign-edit", 0),
        (lambda history: history[1].update(content="No."), "answer-changed", 1),
        (lambda history: history.insert(0, {"role": "system", "content": "Be brief."}), "foreign-edit", 0),
    ],
    ids=["question", "answer", "system"],
)
def test_a_miss_names_its_cause(stage: Stage, change: Any, cause: str, message: int) -> None:
    session = f"miss-{cause}-{message}"
    history, _ = first_turn(stage, session)
    change(history)
    response = stage.ask(session, [*history, user("More.")])
    assert read(response.headers["x-fortieth-cache"])["cause"] == cause
    miss = stage.row(session)["last_miss"]
    assert (miss["cause"], miss["message"]) == (cause, message)
    assert miss["before"] != miss["now"]
    assert miss["advice"]


def test_a_stream_tells_it_in_a_comment(stage: Stage) -> None:
    body = {"messages": [user("hello")], "max_tokens": 3, "stream": True, "prompt_cache_key": "streamed"}
    lines = stage.server.post(body).text.splitlines()
    comment = next(line for line in lines if line.startswith(": x-fortieth-cache: "))
    assert read(comment.removeprefix(": x-fortieth-cache: "))["cause"] == "cold"


def test_sessions_are_listed_pinned_and_dropped(stage: Stage) -> None:
    first_turn(stage, "a/b")
    row = stage.row("a/b")
    assert (row["source"], row["model"], row["turns"]) == ("prompt_cache_key", "tiny", 1)
    assert row["cache"]["tokens"] > 0
    assert not row["cache"]["pinned"]
    assert httpx.post(stage.url("/a/b/pin")).json()["pinned"]
    assert stage.row("a/b")["cache"]["pinned"]
    assert not httpx.post(stage.url("/a/b/unpin")).json()["pinned"]
    assert not stage.row("a/b")["cache"]["pinned"]
    assert httpx.delete(stage.url("/a/b")).json()["deleted"]
    assert "a/b" not in [one["id"] for one in httpx.get(stage.url()).json()["data"]]
    for gone in (httpx.delete(stage.url("/a/b")), httpx.post(stage.url("/a/b/pin"))):
        assert gone.status_code == 404
        assert "a/b" in gone.json()["error"]["message"]


async def foresee(upstream: EngineUpstream, request: ChatRequest, reply: Message) -> None:
    """Until all that is new in the next prompt has been computed: the reply, and what stands around it."""
    new = len(reply.text) + len("|\n|user\n")
    wanted = upstream.client.stats().prefilled_tokens + new
    upstream.foresee(request, reply)
    async with asyncio.timeout(60):
        while upstream.client.stats().prefilled_tokens < wanted:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_repaired_answer_is_computed_while_the_client_is_busy(stage: Stage, ahead: bool) -> None:
    session = f"ahead-{ahead}"
    history, _ = first_turn(stage, session)
    history[1] = {"role": "assistant", "content": f"Repaired as if ahead were {ahead}. " * 4}
    if ahead:
        words = (Message.of(Role.user, history[0]["content"]),)
        asked = ChatRequest("tiny", words, session=SessionId(session, "prompt_cache_key"))
        stage.thread.run(foresee(stage.upstream, asked, Message.of(Role.assistant, history[1]["content"])))
    told = read(stage.ask(session, [*history, user("More.")]).headers["x-fortieth-cache"])
    missing = int(told["total"]) - int(told["reused"])
    rest = len("More.") + len("|\n|assistant\n") + 1
    assert (missing <= rest, told["cause"]) == (ahead, "none" if ahead else "answer-changed")


def test_a_request_that_was_given_up_is_gone_on_from(stage: Stage) -> None:
    body = {"messages": [user("A long story. " * 30)], "logit_bias": SAID, "max_tokens": 500}
    url = stage.server.base_url + "/chat/completions"
    with httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as response:
        told = (line for line in response.iter_lines() if '"content":"' in line)
        assert any('"content":""' not in line for line in told), "and the client hangs up"
    again = stage.server.post({**body, "max_tokens": 1}).json()["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] >= again["prompt_tokens"] - 1


def test_any_upstream_has_sessions_but_only_the_engine_keeps_prefixes() -> None:
    upstream = ScriptedUpstream(lambda request: Script(("Hello",)))
    with serving(upstream) as server:
        assert server.post({"messages": [user("hi")], "prompt_cache_key": "s"}).status_code == 200
        stage = Stage(server, None, None)  # type: ignore[arg-type]
        assert stage.row("s")["requests"] == 1
        assert stage.row("s")["cache"] is None
        assert stage.row("s")["last"] is None
        assert httpx.post(stage.url("/s/pin")).status_code == 404
        assert httpx.delete(stage.url("/s")).status_code == 200
        assert httpx.get(stage.url()).json() == {"object": "list", "data": []}
