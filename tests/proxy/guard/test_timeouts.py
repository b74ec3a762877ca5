"""A request may take so long and no longer, by the server's setting, a header or the body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proxy.conversation.errors import BadRequest
from proxy.guard.deadline import read_timeout
from proxy.http.routes import Limits
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.live import LiveServer, Playbook, serving
from tests.proxy.requests import body


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    playbook = Playbook(Script(("a", Stall(30), "b")))
    playbook.scripts["never admitted"] = Script(("a",), admission=Stall(30))
    playbook.scripts["quick"] = Script(("a", "b"))
    upstream = ScriptedUpstream(playbook)
    with serving(upstream, limits=Limits(request_timeout_s=0.3)) as server:
        yield server
    assert all(played.closed for played in upstream.played)


SHORTER: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({}, {}, "0.3"),
    ({"timeout_s": 0.1}, {}, "0.1"),
    ({}, {"x-fortieth-timeout": "0.2"}, "0.2"),
    ({"timeout_s": 60}, {"x-fortieth-timeout": "60"}, "0.3"),
]


@pytest.mark.parametrize("text", ["slow", "never admitted"])
@pytest.mark.parametrize(("fields", "headers", "limit"), SHORTER, ids=["server", "body", "header", "bounded"])
def test_the_time_is_up(
    server: LiveServer, fields: dict[str, Any], headers: dict[str, str], limit: str, text: str
) -> None:
    response = server.post(body(text, **fields), headers)
    assert response.status_code == 504
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("timeout_error", "request_timeout")
    assert f"within {limit} s" in error["message"]


def test_the_time_is_up_during_a_stream(server: LiveServer) -> None:
    for choices in (1, 2):
        raw = server.post(body("slow", stream=True, n=choices)).text
        assert '"content":"a"' in raw
        assert raw.count('"code":"request_timeout"') == 1
        assert "[DONE]" not in raw


def test_the_time_is_up_before_a_stream_begins(server: LiveServer) -> None:
    assert server.post(body("never admitted", stream=True)).status_code == 504


def test_what_is_in_time_is_served(server: LiveServer) -> None:
    assert server.post(body("quick")).json()["choices"][0]["message"]["content"] == "ab"
    assert server.post(body("quick", stream=True)).text.endswith("[DONE]\n\n")


@pytest.mark.parametrize("value", ["", "soon", "0", "-1", "nan", "inf"])
def test_a_header_that_is_no_time(value: str) -> None:
    with pytest.raises(BadRequest, match="x-fortieth-timeout"):
        read_timeout({"x-fortieth-timeout": value})
