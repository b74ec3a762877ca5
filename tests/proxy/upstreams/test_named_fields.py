"""Which fields a refusal names: many names are words of a sentence, too."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.conversation.errors import BadRequest
from proxy.upstreams.remote.unsent import refused_fields, without_fields

IMAGE = {"type": "image_url", "image_url": {"url": "https://a/b"}}
PARAMS: dict[str, Any] = {
    "messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE], "weight": 1}],
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False, "every": 2},
    "seed": 3,
    "stop": ["x"],
    "logit_bias": {"5": 1},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}, "eager": True}],
    "extra_body": {"user": "ann", "top_k": 5, "models": ["a"], "audio": {"voice": "b"}, "provider": {}},
}
NAMED: dict[str, set[str]] = {
    "Unknown parameter: 'user'.": {"user"},
    'Unsupported parameter(s): `seed`, "stop"': {"seed", "stop"},
    'Invalid JSON payload received. Unknown name "seed": Cannot find field.': {"seed"},
    r"{\"loc\": [\"body\", \"user\"], \"type\": \"extra_forbidden\"}": {"user"},
    "Unrecognized request argument supplied: user": {"user"},
    "Unrecognized request arguments supplied: seed, user and stop": {"seed", "user", "stop"},
    "body -> user: extra fields not permitted": {"user"},
    "user: Extra inputs are not permitted": {"user"},
    "body.user is not permitted": {"user"},
    "tools.0.eager: Extra inputs are not permitted": {"eager"},
    "messages[0].weight is not supported": {"weight"},
    "The user field is not supported": {"user"},
    "unsupported property seed": {"seed"},
    "This model does not support logit_bias.": {"logit_bias"},
    "Unknown parameter: 'stream_options.every'.": {"every"},
    "Unrecognized request argument supplied: stream_options": {"include_obfuscation", "every"},
    # words of a sentence
    "image input is not supported in user messages": set(),
    "user messages cannot hold images: not supported": set(),
    "Audio and images are not supported by these models; see the provider list": set(),
    "Unsupported content: image_url in a user message": set(),
    "Images are not supported for messages with the role 'user'.": set(),
    "Images are only allowed in 'user' and 'tool' roles": set(),
    "This model stops at the first image, which is not supported. user content must be text": set(),
    "property 'top_p' is unsupported, did you mean 'top_k'?": set(),
    "the seed must be a number": set(),
}


@pytest.mark.parametrize("message", NAMED)
def test_a_name_counts_where_it_is_written_as_one(message: str) -> None:
    for said in (message, f"upstream brief: {message}"):
        assert refused_fields(BadRequest(said), PARAMS) == NAMED[message]


@pytest.mark.parametrize(
    ("param", "named"),
    [
        ("user", {"user"}),
        ("messages[0].weight", {"weight"}),
        ("stream_options.include_obfuscation", {"include_obfuscation"}),
        ("stream_options", {"include_obfuscation", "every"}),
        ("messages[0].content[1].image_url", set()),
    ],
)
def test_the_field_that_the_server_names_beside_counts(param: str, named: set[str]) -> None:
    error = BadRequest("It is not supported in user messages.", param=param)
    assert refused_fields(error, PARAMS) == named


def test_what_is_left_out_is_told_and_nothing_else() -> None:
    unsent = {"seed", "user", "weight", "eager", "every", "stream", "include_usage", "absent", "top_p"}
    sent = without_fields(PARAMS, unsent)
    assert sent.left_out == {"seed", "user", "weight", "eager", "every"}
    assert sent.params["stream"] is True
    assert sent.params["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert not {"seed", "user"} & {*sent.params, *sent.params["extra_body"]}
    assert sent.told("u") == tuple(
        f"{name}: upstream u does not take it: left out" for name in sorted(sent.left_out)
    )


def test_a_server_that_has_no_options_of_a_stream_is_asked_without() -> None:
    """What the client has added goes first."""
    bare = {**PARAMS, "stream_options": {"include_usage": True}}
    error = BadRequest("Unrecognized request argument supplied: stream_options")
    assert refused_fields(error, bare) == {"stream_options"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_one_limit_stands_in_for_the_other(name: str) -> None:
    (other,) = {"max_tokens", "max_completion_tokens"} - {name}
    sent = without_fields({"messages": [], name: 7}, {name})
    assert sent.params == {"messages": [], other: 7}
    (warning,) = sent.told("u")
    assert warning.endswith(f"left out, {other} is sent in its place")
