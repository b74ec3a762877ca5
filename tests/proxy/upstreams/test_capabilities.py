"""What an upstream can do is said by a value of it."""

from __future__ import annotations

import ast
from pathlib import Path

import httpx
import pytest

from proxy.upstreams.scripted import ScriptedUpstream
from tests.proxy.live import scripted, serving

PROXY = Path(__file__).parents[3] / "proxy"
LACKING = [
    ("POST", "/v1/fortieth/sessions/x/pin"),
    ("POST", "/v1/fortieth/warm"),
]


def kinds_asked_for(source: str) -> list[str]:
    """Classes of upstreams by which a module tells one from another."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    asked = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "isinstance"]
    names = [node.id for call in asked for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)]
    return [name for name in names if name.endswith("Upstream")]


def test_nobody_asks_what_kind_of_upstream_it_is() -> None:
    files = list(PROXY.rglob("*.py"))
    assert len(files) > 50
    assert {file.name: found for file in files if (found := kinds_asked_for(file.read_text()))} == {}
    assert kinds_asked_for("isinstance(one, str | EngineUpstream)") == ["EngineUpstream"]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_tools_that_an_upstream_cannot_run_are_told_of(choice: str) -> None:
    """Where there are no others, the model answers in words."""
    upstream = scripted("Well.")
    with serving(upstream) as server:
        tools = [{"type": "web_search"}, {"type": "web_search"}]
        body = {"messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice}
        response = server.post(body)
    assert response.json()["choices"][0]["message"]["content"] == "Well."
    warning = "tools of type web_search are not served here: left out"
    assert response.headers["x-fortieth-warning"] == warning
    assert [played.request.hosted_tools for played in upstream.played] == [()]


@pytest.mark.parametrize(("method", "path"), LACKING)
def test_what_an_upstream_cannot_do_is_not_found(method: str, path: str) -> None:
    upstream: ScriptedUpstream = scripted("x")
    with serving(upstream) as server:
        body = {"messages": [{"role": "user", "content": "x"}]}
        response = httpx.request(method, server.root + path, json=body)
    assert response.status_code == 404
    assert "keeps no prefixes" in response.json()["error"]["message"]
