"""The tokens of a prompt and the text of tokens, in the form of vLLM's servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.codecs.tokenize import TokenizeForm
from proxy.conversation.request import ChatRequest, RawPrompt
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.codecs.completions import complete, completing
from tests.proxy.live import LiveServer, serving
from tests.proxy.requests import TOOLS, user
from tests.proxy.tokenizer import ByteTokenizer

FORM = TokenizeForm()


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    can = Capabilities(tokenizer=ByteTokenizer())
    with serving(ScriptedUpstream(lambda request: Script(), capabilities=can)) as server:
        yield server


@pytest.mark.parametrize("prefix", ["", "/.."], ids=["v1", "bare"])
def test_there_and_back(server: LiveServer, prefix: str) -> None:
    told = complete(server, f"{prefix}/tokenize", prompt="hé").json()
    assert told == {"count": 3, "tokens": [104, 195, 169], "token_strs": None, "max_model_len": 4096}
    back = complete(server, f"{prefix}/detokenize", tokens=told["tokens"]).json()
    assert back == {"prompt": "hé", "content": "hé"}


def test_each_token_is_spelled_where_asked_for(server: LiveServer) -> None:
    told = complete(server, "/tokenize", prompt="hi", return_token_strs=True).json()
    assert told["token_strs"] == ["<104>", "<105>"]


def test_a_conversation_has_the_tokens_of_its_prompt(server: LiveServer) -> None:
    told = complete(server, "/tokenize", prompt=None, messages=[user("hi"), user("ho")]).json()
    assert (told["count"], told["tokens"]) == (4, [104, 105, 104, 111])


def decoded(**fields: Any) -> ChatRequest:
    return FORM.decode_prompt(json.dumps(fields).encode()).request


def test_what_a_body_is_read_as() -> None:
    asked = decoded(model="m", messages=[user("hi")], tools=TOOLS, chat_template_kwargs={"a": 1})
    assert [tool.name for tool in asked.tools] == ["get_weather", "get_time"]
    assert asked.template_options == {"a": 1}
    assert decoded(prompt="x").raw == RawPrompt("x")
    assert decoded(prompt="x", add_special_tokens=False).raw == RawPrompt("x", special=False)
    # llama.cpp's names, and what they mean there where they are left out
    assert decoded(content="x").raw == RawPrompt("x", special=False)
    assert decoded(content="x", add_special=True).raw == RawPrompt("x")
    assert decoded(prompt="").raw == RawPrompt("")


BAD: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "nothing": ("/tokenize", {"prompt": None}, "prompt", "got nothing"),
    "prompt_number": ("/tokenize", {"prompt": 5}, "prompt", "got number 5"),
    "messages_text": ("/tokenize", {"messages": "hi"}, "messages", 'got string "hi"'),
    "no_generation_prompt": (
        "/tokenize",
        {"add_generation_prompt": False},
        "add_generation_prompt",
        "true alone",
    ),
    "continued": ("/tokenize", {"continue_final_message": True}, "continue_final_message", "false alone"),
    "no_tokens": ("/detokenize", {}, "tokens", "got nothing"),
    "tokens_text": ("/detokenize", {"tokens": "hi"}, "tokens", "expected an array"),
    "token_text": ("/detokenize", {"tokens": [1, "2"]}, "tokens[1]", 'got string "2"'),
    "unknown_token": ("/detokenize", {"tokens": [999]}, "tokens", "[0, 256)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_field_is_named(server: LiveServer, name: str) -> None:
    path, fields, param, words = BAD[name]
    response = complete(server, path, **fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]


def test_an_unknown_model_and_an_upstream_that_cannot(server: LiveServer) -> None:
    assert complete(server, "/tokenize", model="else").json()["error"]["code"] == "model_not_found"
    assert complete(server, "/detokenize", model="else", tokens=[1]).status_code == 404
    with completing() as other:
        for path in ("/tokenize", "/detokenize"):
            response = complete(other, path, tokens=[1])
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
