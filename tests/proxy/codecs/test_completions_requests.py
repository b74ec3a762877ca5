"""What a completions request is decoded into, and which ones are refused, naming the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.openai_completions import OpenAICompletions
from proxy.codecs.openai_completions_request import CompletionShape, decode_request
from proxy.conversation.errors import BadRequest, ContextTooLong
from proxy.conversation.request import ChatRequest, RawPrompt, Sampling
from proxy.conversation.session_id import prefix_of
from tests.proxy.codecs.completions import COMPLETION, complete, completing, refusing


def decoded(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps({**COMPLETION, **fields}).encode()).request


@pytest.mark.parametrize(
    ("prompt", "contents"),
    [
        ("text", ["text"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [(1, 2)]),
        ([[1], [2, 3]], [(1,), (2, 3)]),
        (["a", [2, 3]], ["a", (2, 3)]),
        ([[]], [()]),
    ],
    ids=repr,
)
def test_every_form_of_a_prompt(prompt: Any, contents: list[Any]) -> None:
    assert decoded(prompt=prompt) == ChatRequest(
        "scripted", (), prompts=tuple(map(RawPrompt, contents)), sampling=Sampling(max_tokens=16)
    )


def test_the_other_fields() -> None:
    asked = decoded(
        suffix="behind",
        add_special_tokens=False,
        max_tokens=5,
        n=2,
        best_of=2,
        logprobs=0,
        stop=["\n", ""],
        seed=3,
        temperature=0.5,
        top_k=-1,
        stream=True,
        timeout_s=2,
        response_format={"type": "text"},
        nobody_knows={"this": 1},
    )
    sampling = Sampling(max_tokens=5, logprobs=0, stop=("\n",), seed=3, temperature=0.5, top_k=0)
    assert asked == ChatRequest(
        "scripted",
        (),
        prompts=(RawPrompt("once", "behind", False),),
        sampling=sampling,
        n=2,
        stream=True,
        timeout_s=2,
        further={"nobody_knows": {"this": 1}},
    )
    assert asked.answers == 2


def test_without_a_limit_as_local_servers_spell_it() -> None:
    assert decoded(max_tokens=-1).sampling.max_tokens is None
    assert decoded(max_tokens=None).sampling.max_tokens == 16


def test_echoes_stand_before_each_answer() -> None:
    body = json.dumps({**COMPLETION, "prompt": ["a", "b"], "n": 2, "echo": True}).encode()
    assert decode_request(body).shape == CompletionShape(False, ("a", "a", "b", "b"))


# id -> (fields, the field named in `param`, a part of the message)
BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no_prompt": ({"prompt": None}, "prompt", "got nothing"),
    "no_prompts": ({"prompt": []}, "prompt", "an empty array"),
    "prompt_number": ({"prompt": 5}, "prompt", "got number 5"),
    "prompt_object": ({"prompt": {"a": 1}}, "prompt", "got an object"),
    "prompt_nulls": ({"prompt": [None]}, "prompt[0]", "got null"),
    "prompt_booleans": ({"prompt": [True]}, "prompt[0]", "got true"),
    "token_text": ({"prompt": [1, "a"]}, "prompt[1]", 'got string "a"'),
    "token_half": ({"prompt": [1.5]}, "prompt[0]", "got number 1.5"),
    "token_negative": ({"prompt": [-1]}, "prompt[0]", "got number -1"),
    "token_huge": ({"prompt": [[1, 2**40]]}, "prompt[0][1]", "in [0, 2147483647]"),
    "too_many": ({"prompt": ["x"] * 33, "n": 2}, "prompt", "at most 64 answers"),
    "suffix_number": ({"suffix": 1}, "suffix", "got number 1"),
    "echo_text": ({"echo": "yes"}, "echo", 'got string "yes"'),
    "echo_tokens": ({"echo": True, "prompt": [1]}, "echo", "send it as text"),
    "echo_scores": ({"echo": True, "logprobs": 1}, "echo", "leave out echo or logprobs"),
    "logprobs_many": ({"logprobs": 21}, "logprobs", "[0, 20]"),
    "logprobs_boolean": ({"logprobs": True}, "logprobs", "got true"),
    "best_of_more": ({"best_of": 3}, "best_of", "can only be n, which is 1; got 3"),
    "best_of_text": ({"best_of": "2"}, "best_of", 'got string "2"'),
    "n_many": ({"n": 17}, "n", "[1, 16]"),
    "no_tokens": ({"max_tokens": 0}, "max_tokens", "got 0"),
    "json": ({"response_format": {"type": "json_object"}}, "response_format", "/v1/chat/completions"),
    "stop_number": ({"stop": 5}, "stop", "got number 5"),
    "stream_text": ({"stream": "yes"}, "stream", 'got string "yes"'),
    "temperature": ({"temperature": 3}, "temperature", "[0, 2]"),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_a_bad_field_is_named(name: str) -> None:
    fields, param, words = BAD_FIELDS[name]
    with pytest.raises(BadRequest) as error:
        decoded(**fields)
    assert error.value.param == param
    assert words in error.value.message


def test_what_lies_in_the_messages_lies_in_the_prompt() -> None:
    with completing({"once": refusing(ContextTooLong(5000, 4096))}) as server:
        response = complete(server)
        missing = complete(server, model="else")
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == ("prompt", "context_length_exceeded")
    assert "prompt is too long: 5000 tokens > 4095 maximum" in error["message"]
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_a_session_is_known_by_how_its_prompts_begin() -> None:
    beginning = "x" * 300
    same = {prefix_of(decoded(prompt=prompt)) for prompt in (beginning, beginning + "more")}
    others = {prefix_of(decoded(prompt=prompt)) for prompt in ("other", [1, 2], [1, 3], "")}
    assert len(same) == 1
    assert len(same | others) == 5


def test_no_header_is_this_dialects_own() -> None:
    assert not OpenAICompletions().claims({"anthropic-version": "2023-06-01"})
