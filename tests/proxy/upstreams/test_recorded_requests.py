"""What clients send reaches an upstream, which records it: each row in each dialect that can say it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.codecs.as_sent import NOT_SENT, NOT_SENT_OF_MESSAGES
from tests.proxy.upstreams.dialects import ask, body, make_client
from tests.proxy.upstreams.request_rows import ELSEWHERE, MESSAGES, OTHERWISE, SAME, SEARCH
from tests.proxy.upstreams.stage import Hosted

SAME_CASES = [(dialect, name) for name, (dialects, _) in SAME.items() for dialect in dialects]
# Values for fields whose dialect checks them; any value does for the others.
VALUES: dict[str, Any] = {
    "n": 1,
    "best_of": 1,
    "echo": False,
    "timeout_s": 30,
    "options": {"num_ctx": 4096},
    "include": [],
    "store": False,
    "metadata": {"user_id": "ann"},
    "stream_options": {"include_obfuscation": False},
    "background": False,
    "previous_response_id": "",
    "tools": [],
    "output_config.effort": "low",
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with make_client() as made:
        yield made


def recorded(
    chain: Hosted, client: httpx.Client, dialect: str, key: str, fields: Any, messages: Any = ()
) -> Any:
    """The body of the request that the upstream got, of several the first: an answer in words where a call
    was due is asked again.
    """
    response = ask(client, chain.server, dialect, body(dialect, key, fields, messages))
    assert response.status_code == 200, response.text
    return chain.wire.asked(key)[0].body


@pytest.mark.parametrize(("dialect", "name"), SAME_CASES)
def test_fields_arrive_as_they_were_sent(
    chain: Hosted, client: httpx.Client, dialect: str, name: str
) -> None:
    fields = SAME[name][1]
    got = recorded(chain, client, dialect, f"{name} in {dialect}", fields)
    assert {key: got.get(key) for key in fields} == fields


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_arrive_as_they_were_sent(chain: Hosted, client: httpx.Client, name: str) -> None:
    got = recorded(chain, client, "chat", f"message {name}", {}, MESSAGES[name])
    assert got["messages"][1:] == MESSAGES[name]


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_others_call_otherwise_arrives(chain: Hosted, client: httpx.Client, name: str) -> None:
    dialect, fields, messages, expected = OTHERWISE[name]
    got = recorded(chain, client, dialect, f"otherwise {name}", fields, messages)
    assert {key: got.get(key) for key in expected} == expected


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_others_say_otherwise_arrives(chain: Hosted, client: httpx.Client, name: str) -> None:
    dialect, messages, expected = ELSEWHERE[name]
    got = recorded(chain, client, dialect, f"elsewhere {name}", {}, messages)
    assert got["messages"][1:] == expected


@pytest.mark.parametrize("dialect", NOT_SENT)
def test_what_is_listed_is_not_sent(chain: Hosted, client: httpx.Client, dialect: str) -> None:
    fields: dict[str, Any] = {}
    for name in NOT_SENT[dialect]:
        outer, _, inner = name.partition(".")
        value = VALUES.get(name, {"a": 1} if name != "truncation" else "auto")
        fields[outer] = {inner: value} if inner else value
    got = recorded(chain, client, dialect, f"not sent in {dialect}", fields)
    assert not {*fields, "reasoning_effort"} & got.keys() - {"stream_options"}
    assert got["stream_options"] == {"include_usage": True}


def test_who_must_use_a_tool_of_the_provider_is_heard_in_words(chain: Hosted, client: httpx.Client) -> None:
    key = "required there"
    fields = {"tools": [SEARCH], "tool_choice": "required"}
    response = ask(client, chain.server, "chat", body("chat", key, fields))
    assert response.json()["choices"][0]["message"]["content"] == "Hello there."
    assert "x-fortieth-warning" not in response.headers
    assert len(chain.wire.asked(key)) == 1


def test_what_is_listed_of_messages_is_not_sent(chain: Hosted, client: httpx.Client) -> None:
    message = {"role": "user", "content": "hi", **dict.fromkeys(NOT_SENT_OF_MESSAGES, "x")}
    got = recorded(chain, client, "chat", "not sent of messages", {}, [message])
    assert got["messages"][1] == {"role": "user", "content": "hi"}


def test_the_list_is_that_of_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "upstreams.md").read_text("utf-8")
    shown = re.findall(r"^\| (\S+) \| `([^`]+)` \| (.+) \|$", text, re.MULTILINE)
    listed = [(dialect, name, why) for dialect, names in NOT_SENT.items() for name, why in names.items()]
    listed += [("message", name, why) for name, why in NOT_SENT_OF_MESSAGES.items()]
    assert shown == listed
