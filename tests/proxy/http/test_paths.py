"""What the bare address says, and what a path that leads nowhere says of its client."""

from __future__ import annotations

import httpx
import pytest

from proxy.conversation.errors import SettingsError
from proxy.http.paths import normal_path, not_found
from proxy.http.read_settings import load_settings
from tests.proxy.codecs.ollama import NO_TLS
from tests.proxy.conftest import Stage
from tests.proxy.http.hostile import CHAT, asking
from tests.proxy.live import scripted, serving

NORMAL = {
    "/v1//chat/completions/": "/v1/chat/completions",
    "/v1/v1/messages": "/v1/messages",
    "//": "/",
    "/v1/": "/v1",
    "/v1/models/\n": "/v1/models/%0A",
    "/v1/models/a\r\nb\x9b": "/v1/models/a%0D%0Ab%C2%9B",
    "/v1/models/été": "/v1/models/été",
}


@pytest.mark.parametrize("path", NORMAL)
def test_a_route_has_one_spelling(path: str) -> None:
    assert normal_path(path) == NORMAL[path]


LEADS = {
    "/chat/completions/chat/completions": "OPENAI_BASE_URL",
    "/api/v1/chat/completions": "OPENAI_BASE_URL",
    "/v1/responses/responses": "OPENAI_BASE_URL",
    "/openai/deployments/gpt/chat/completions": "Azure",
    "/v1beta/models/gemini-pro:generateContent": "GOOGLE_GEMINI_BASE_URL",
    "/v1/models/gemini-pro:streamGenerateContent": "GOOGLE_GEMINI_BASE_URL",
    "/model/claude/converse-stream": "BEDROCK",
    "/v1/messages/v1/messages": "ANTHROPIC_BASE_URL",
    "/v1/chat/completions/v1/messages/count_tokens": "ANTHROPIC_BASE_URL",
    "/v1/api/chat": "OLLAMA_HOST",
    "/api/pull": "fortieth serve MODEL",
    "/v1/embeddings": "embedding",
    "/api/embed": "embedding",
    "/v1/rerank": "embedding",
    "/v1/audio/transcriptions": "speech",
    "/v1/images/generations": "pictures",
    "/mcp": "MCP",
    "/props": "llama.cpp",
    "/": "OLLAMA_HOST",
    "/nowhere": "ANTHROPIC_BASE_URL",
}


@pytest.mark.parametrize("path", LEADS)
def test_a_404_says_which_setting_leads_there(path: str) -> None:
    said = not_found("POST", path)
    assert LEADS[path] in said
    assert "GET /v1" in said


def test_it_is_said_in_the_dialect_of_the_client(stage: Stage) -> None:
    lost = httpx.post(stage.server.root + "/v1/embeddings", json={}, verify=NO_TLS)
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "not_found")
    assert "embedding" in lost.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (CHAT, "POST"),
        ("/v1/models", "GET, HEAD"),
        ("/v1/responses/resp_1", "DELETE, GET, HEAD"),
        ("/v1", "GET, HEAD"),
        ("/v1/fortieth/sessions/x", "DELETE"),
    ],
)
def test_a_405_names_the_methods(stage: Stage, path: str, allowed: str) -> None:
    for method in ("PUT", "PATCH", "OPTIONS"):
        response = httpx.request(method, stage.server.root + path, verify=NO_TLS)
        assert (response.status_code, response.headers["allow"]) == (405, allowed)


def test_the_bare_address_answers(stage: Stage) -> None:
    """Ollama's command line asks for it before anything else."""
    for path in ("", "/"):
        assert httpx.head(stage.server.root + path, verify=NO_TLS).status_code == 200
    assert "fortieth" in httpx.get(stage.server.root, verify=NO_TLS).text


def test_v1_says_what_is_served(stage: Stage) -> None:
    told = httpx.get(stage.server.base_url, verify=NO_TLS).json()
    assert told["models"] == ["scripted"]
    assert told["base_urls"]["openai"] == stage.server.base_url
    assert told["base_urls"]["anthropic"] == told["base_urls"]["ollama"] == stage.server.root
    assert {"POST /v1/chat/completions", "GET /health", "POST /api/chat"} <= set(told["routes"])
    strange = httpx.get(stage.server.base_url, headers={"host": 'x"><script>'}, verify=NO_TLS)
    assert "script>" not in strange.text


def test_a_line_end_is_no_model(stage: Stage) -> None:
    for path in (
        "/v1/models/%0A",
        "/v1/models/%00",
        "/v1/chat/completions%0A",
        "/v1/models%0A",
        "/health%0A",
    ):
        assert httpx.get(stage.server.root + path, verify=NO_TLS).status_code == 404


def test_several_keys() -> None:
    with serving(scripted("Hello."), api_key=("first", "zweiter-é")) as server:
        statuses = [
            httpx.post(
                server.root + CHAT,
                json=asking(CHAT),
                headers=[(b"authorization", f"Bearer {key}".encode())],
                verify=NO_TLS,
            ).status_code
            for key in ("first", "zweiter-é", "firs", "first,zweiter-é", "x", "second")
        ]
        open_ones = [
            httpx.get(server.root + path, verify=NO_TLS).status_code for path in ("/", "/health", "/metrics")
        ]
        closed = [httpx.get(server.root + path, verify=NO_TLS).status_code for path in ("/v1", "/v1/models")]
    assert statuses == [200, 200, 401, 401, 401, 401]
    assert (open_ones, closed) == ([200, 200, 200], [401, 401])


def test_keys_are_settings() -> None:
    def keys(value: object) -> list[str]:
        return [key.get_secret_value() for key in load_settings({"api_key": value}, {}).api_key]

    assert keys("one") == ["one"]
    assert keys("one, two") == keys(["one", "two"]) == ["one", "two"]
    for nothing in ("", " ", ",", ", ,", [], [""]):
        with pytest.raises(SettingsError, match="--api-key"):
            keys(nothing)
    assert load_settings({}, {}).api_key == ()
