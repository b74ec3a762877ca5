"""Whatever is sent to Ollama's routes, the answer is a clear 4xx in its shape; the server still serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codecs.base import Codec
from proxy.codecs.ollama import OllamaChat, OllamaGenerate
from proxy.conversation.errors import BadRequest, BadTool, ContextTooLong
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.codecs.ollama import NO_TLS, chat, prompt, send
from tests.proxy.conftest import Stage
from tests.proxy.live import LiveServer, Playbook, serving
from tests.proxy.requests import TOOLS

PNG = "iVBO"


def said(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [fields]}


# id -> (body, a part of the message, which names the field)
BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "messages_text": (chat(messages="hi"), 'messages: expected an array, got string "hi"'),
    "message_text": (chat(messages=["hi"]), "messages[0]: expected an object"),
    "no_role": (said(content="x"), "messages[0].role: expected a string, got nothing"),
    "content_number": (said(role="user", content=5), "messages[0].content: expected a string"),
    "images_text": (said(role="user", content="x", images=PNG), "messages[0].images: expected an array"),
    "image_number": (
        said(role="user", content="x", images=[PNG, 5]),
        "messages[0].images[1]: expected a picture in base64, got number 5",
    ),
    "calls_text": (said(role="assistant", tool_calls="f"), "messages[0].tool_calls: expected an array"),
    "call_without_a_function": (
        said(role="assistant", tool_calls=[{"id": "x"}]),
        "messages[0].tool_calls[0].function: expected an object",
    ),
    "tool_name_number": (
        said(role="tool", content="x", tool_name=5),
        "messages[0].tool_name: expected a string",
    ),
    "model_number": (chat(model=5), "model: expected a string, got number 5"),
    "stream_text": (chat(stream="yes"), 'stream: expected a boolean, got string "yes"'),
    "options_array": (chat(options=[1]), "options: expected an object, got an array of 1"),
    "num_predict_text": (chat(options={"num_predict": "9"}), "options.num_predict: expected an integer"),
    "temperature_high": (chat(options={"temperature": 3}), "options.temperature must be in [0, 2], got 3"),
    "top_p_text": (chat(options={"top_p": "x"}), "options.top_p: expected a number"),
    "stop_number": (chat(options={"stop": [1]}), "options.stop[0]: expected a string"),
    "stop_object": (chat(options={"stop": {}}), "options.stop: expected an array"),
    "too_many_stops": (chat(options={"stop": ["x"] * 65}), "options.stop: at most 64"),
    "format_word": (chat(format="yaml"), 'format must be "json" or a JSON Schema, got string "yaml"'),
    "format_number": (chat(format=5), 'format: expected "json" or a JSON Schema, got number 5'),
    "think_number": (chat(think=5), "think: expected a boolean or a level, got number 5"),
    "top_logprobs_many": (chat(top_logprobs=21), "top_logprobs must be in [0, 20], got 21"),
    "tools_object": (chat(tools={}), "tools: expected an array"),
    "tool_without_a_name": (chat(tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
    "choice_without_tools": (chat(tool_choice="required"), "this request declares no tools"),
}
BAD_PROMPTS: dict[str, tuple[dict[str, Any], str]] = {
    "prompt_number": (prompt(prompt=5), "prompt: expected a string, got number 5"),
    "system_number": (prompt(system=5), "system: expected a string"),
    "image_null": (prompt(images=[None]), "images[0]: expected a picture in base64, got null"),
    "raw_text": (prompt(raw="yes"), "raw: expected a boolean"),
    "suffix_number": (prompt(suffix=5), "suffix: expected a string"),
    "raw_and_system": (prompt(raw=True, system="Be brief."), "system: not beside raw"),
    "raw_and_format": (prompt(raw=True, format="json"), "format: not beside raw"),
    "suffix_and_images": (prompt(suffix="x", images=[PNG]), "images: not beside suffix"),
    "format_word": (prompt(format="yaml"), "format must be"),
}


@pytest.mark.parametrize("name", [*BAD_FIELDS, *(f"prompt_{name}" for name in BAD_PROMPTS)])
def test_a_bad_field_is_named(stage: Stage, name: str) -> None:
    to_prompt = name not in BAD_FIELDS
    asked, words = BAD_PROMPTS[name.removeprefix("prompt_")] if to_prompt else BAD_FIELDS[name]
    response = send(stage.server, asked, "/api/generate" if to_prompt else "/api/chat")
    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert words in response.json()["error"]


BAD_BODIES = {
    "nothing": (b"", 400),
    "no_json": (b"{", 400),
    "array": (b"[]", 400),
    "not_utf8": (b'{"model": "\xff\xfe"}', 400),
    "deep": (b'{"messages":' * 3000, 400),
    "huge": (b'{"system": "' + b"x" * (4 * 1024 * 1024) + b'"}', 413),
}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_cannot_be_read(stage: Stage, name: str, path: str) -> None:
    body, status = BAD_BODIES[name]
    response = send(stage.server, body, path)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert send(stage.server, chat(stream=False)).json()["message"]["content"] == "Hello there."


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
def test_who_asks_for_a_model_alone_names_it(stage: Stage, path: str) -> None:
    for body, found in (({}, "expected a string, got nothing"), ({"model": ""}, "must not be empty")):
        response = send(stage.server, body, path)
        assert response.status_code == 400
        assert response.json()["error"].startswith("model")
        assert found in response.json()["error"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
def test_an_unknown_model(stage: Stage, path: str) -> None:
    for stream in (False, True):
        response = send(stage.server, {**chat(), **prompt(), "model": "llama3.2", "stream": stream}, path)
        assert response.status_code == 404
        assert response.json() == {"error": "The model `llama3.2` does not exist; served here: scripted"}
    load = send(stage.server, {"model": "llama3.2"}, path)
    assert load.status_code == 404


def test_a_context_that_is_too_long(stage: Stage) -> None:
    stage.playbook.scripts["long"] = Script(refusal=ContextTooLong(5000, 4096))
    response = send(stage.server, chat("long"))
    assert response.status_code == 400
    assert response.json()["error"].startswith("prompt is too long: 5000 tokens > 4095 maximum")


def test_a_tool_that_cannot_be_used_is_named_by_its_place() -> None:
    codec = OllamaChat()
    asked = codec.decode(json.dumps(chat(tools=TOOLS)).encode())
    reply = codec.encode_error(BadTool("get_time", "nested"), asked, "req_1")
    told = json.loads(reply.body)["error"]
    assert told == "tools[1].function.parameters: not a usable JSON Schema for tool 'get_time': nested"


@pytest.fixture(scope="module")
def locked() -> Iterator[LiveServer]:
    with serving(ScriptedUpstream(Playbook(Script(("x",)))), api_key="key") as server:
        yield server


def test_a_key_is_asked_for(locked: LiveServer) -> None:
    for path in ("/api/chat", "/api/generate", "/api/show"):
        assert send(locked, {**chat(), **prompt()}, path).status_code == 401
        right = send(locked, {**chat(), **prompt()}, path, {"authorization": "Bearer key"})
        assert right.status_code == 200
    for path in ("/api/tags", "/api/ps", "/api/version"):
        response = httpx.get(locked.root + path, verify=NO_TLS)
        assert (response.status_code, response.json().keys()) == (401, {"error"})


NAMES = st.sampled_from(
    "role content images tool_calls function name arguments tool_name tool_call_id thinking id type".split()
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(-9, 9) | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    "model messages prompt system images tools tool_choice format options think stream logprobs raw".split()
)


@settings(max_examples=150, deadline=None)
@given(fields=st.dictionaries(FIELDS, VALUES, max_size=3), content=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_body_is_read_or_refused_by_name(fields: dict[str, Any], content: dict[str, Any]) -> None:
    turns = [{"role": role, **content} for role in ("user", "assistant", "tool")]
    body = json.dumps({"model": "scripted", "messages": turns, "prompt": "hi", **fields}).encode()
    for codec in (OllamaChat(), OllamaGenerate()):
        error = refused(codec, body)
        named = "body" if error is None else error.param
        assert named
        assert error is None or error.message.startswith(named.split("[")[0].split(".")[0])


def refused(codec: Codec, body: bytes) -> BadRequest | None:
    try:
        codec.decode(body)
    except BadRequest as error:
        return error
    return None
