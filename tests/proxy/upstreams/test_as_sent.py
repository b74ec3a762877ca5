"""Messages reach an upstream as the client sent them, and one that refuses them so is asked in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.upstreams.remote.mapping import conversation, in_plain_words
from tests.proxy.upstreams.stage import Hosted
from tests.proxy.upstreams.wire import refused, told

MARK = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "file-1"}, **MARK}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
SIGNED = [
    {"type": "thinking", "thinking": "hm", "signature": "s1"},
    {"type": "redacted_thinking", "data": "xx"},
]


def words(text: str, **beside: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **beside}


AS_SENT: dict[str, list[dict[str, Any]]] = {
    "image": [{"role": "user", "content": [words("What is "), IMAGE, words("this?")]}],
    "audio and a file": [{"role": "user", "content": [AUDIO, FILE]}],
    "a mark in a part": [{"role": "system", "content": [words("be kind", **MARK)]}],
    "a mark in a message": [{"role": "user", "content": "hi", **MARK}],
    "names": [{"role": "user", "content": "hi", "name": "ann"}],
    "a result with a picture": [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "name": "look", "content": [words("seen"), IMAGE]},
    ],
    "a signature in a call": [
        {"role": "assistant", "content": "x", "tool_calls": [{**CALL, "extra_content": {"google": "sig"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon", **MARK},
    ],
    "an unknown part": [{"role": "user", "content": [words("guess"), {"type": "riddle", "answer": 42}]}],
    "an unknown part with a text": [
        {"role": "user", "content": [words("guess"), {"type": "hint", "text": "it is warm", "for": []}]}
    ],
    "thinking of other servers": [
        {"role": "assistant", "content": "x", "reasoning_content": "hm", "thinking_blocks": SIGNED},
        {"role": "user", "content": "go on"},
    ],
}
# What is sent so needs no list: there are servers that take none.
IN_ONE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "texts": (
        {"role": "user", "content": [words("a"), "b", {"type": "input_text", "text": "c"}]},
        {"role": "user", "content": "a\nb\nc"},
    ),
    "a cut answer": (
        {"role": "assistant", "content": [words("one "), words("answer")]},
        {"role": "assistant", "content": "one answer"},
    ),
    "empty fields": (
        {"role": "user", "content": [words("a", annotations=[], cache_control=None)], "name": ""},
        {"role": "user", "content": "a"},
    ),
    "unknown fields of a message": (
        {"role": "user", "content": "a", "id": 7, "annotations": [1]},
        {"role": "user", "content": "a"},
    ),
    "signed thinking": (
        {"role": "assistant", "content": [*SIGNED, words("a")]},
        {"role": "assistant", "content": "a", "reasoning_content": "hm", "thinking_blocks": SIGNED},
    ),
}


def post(chain: Hosted, key: str, messages: list[dict[str, Any]], stream: bool = False) -> Any:
    body = {"messages": [{"role": "user", "content": key}, *messages], "stream": stream}
    return chain.server.post(body)


@pytest.mark.parametrize("messages", AS_SENT.values(), ids=AS_SENT)
def test_what_a_client_sent_arrives_as_it_was_sent(
    chain: Hosted, messages: list[dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    key = request.node.name
    assert post(chain, key, messages).status_code == 200
    (asked,) = chain.wire.asked(key)
    assert asked.body["messages"][1:] == messages


@pytest.mark.parametrize(("sent", "told"), IN_ONE.values(), ids=IN_ONE)
def test_texts_are_one_text_and_what_nobody_knows_is_named(
    chain: Hosted, sent: dict[str, Any], told: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    key = request.node.name
    assert post(chain, key, [sent, {"role": "user", "content": "on"}]).status_code == 200
    (asked,) = chain.wire.asked(key)
    assert asked.body["messages"][1] == told


def test_the_role_developer_is_system_where_a_template_may_not_know_it(chain: Hosted) -> None:
    """A server of an open model; who has the role gets it."""
    sent = [{"role": "developer", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert post(chain, "developer", sent).status_code == 200
    (asked,) = chain.wire.asked("developer")
    assert asked.body["messages"][1:] == [{**sent[0], "role": "system"}, sent[1]]
    decoded = decode_request(json.dumps({"messages": sent}).encode()).request
    assert list(conversation(decoded.messages)) == sent


@pytest.mark.parametrize("place", ["tool", "function"])
def test_a_mark_at_a_tool_arrives(chain: Hosted, place: str) -> None:
    key = f"marked {place}"
    plain: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    marked = {**plain, **MARK}
    sent = marked if place == "tool" else {**plain, "function": {**plain["function"], **MARK}}
    chain.wire.plan(key, refused(400, "no marks"), told("Hello"))
    body = {"messages": [{"role": "user", "content": key}], "tools": [sent]}
    assert chain.server.post(body).status_code == 200
    first, second = chain.wire.asked(key)
    assert first.body["tools"] == [marked]
    assert second.body["tools"] == [plain]


PLAIN = {
    "image": "What is \n[image_url omitted: this model reads text only]\nthis?",
    "a mark in a part": "be kind",
    "an unknown part": "guess\n[riddle omitted]",
    "an unknown part with a text": "guess\nit is warm",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", PLAIN)
def test_who_refuses_it_so_is_asked_in_words(chain: Hosted, case: str, stream: bool) -> None:
    key = f"refused {case} {stream}"
    chain.wire.plan(key, refused(400, "text only"), told("Seen."))
    response = post(chain, key, AS_SENT[case], stream)
    assert response.status_code == 200
    assert "Seen." in response.text
    first, second = chain.wire.asked(key)
    assert first.body["messages"][1:] == AS_SENT[case]
    (plain,) = second.body["messages"][1:]
    assert (plain["role"] in ("system", "user"), plain["content"]) == (True, PLAIN[case])
    assert set(plain) == {"role", "content"}


def test_a_refusal_for_another_reason_is_told_as_it_was(chain: Hosted) -> None:
    chain.wire.plan("no", refused(400, "no such thing"), refused(400, "something else"))
    response = post(chain, "no", AS_SENT["image"])
    assert response.status_code == 400
    assert "no such thing" in response.json()["error"]["message"]
    assert len(chain.wire.asked("no")) == 2


@pytest.mark.parametrize("status", ["plain", "too long"])
def test_nor_is_it_asked_twice_where_that_cannot_help(chain: Hosted, status: str) -> None:
    code = "context_length_exceeded" if status == "too long" else None
    key = f"once {status}"
    chain.wire.plan(key, refused(400, "no", code))
    messages = AS_SENT["image"] if status == "too long" else [{"role": "user", "content": "hi"}]
    assert post(chain, key, messages).status_code == 400
    assert len(chain.wire.asked(key)) == 1


def test_in_words_every_message_is_plain() -> None:
    messages = [message for some in AS_SENT.values() for message in some]
    request = decode_request(json.dumps({"messages": messages}).encode()).request
    plain = in_plain_words(request)
    assert in_plain_words(plain) is plain
    for message in conversation(plain.messages):
        assert set(message) <= {"role", "content", "tool_calls", "tool_call_id", "reasoning_content"}
        assert message["content"] is None or isinstance(message["content"], str)
