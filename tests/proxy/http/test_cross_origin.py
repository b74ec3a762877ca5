"""Web pages of other origins: without `--cors` refused, and let in where they are named."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.conversation.errors import SettingsError
from proxy.http.read_settings import load_settings
from tests.proxy.codecs.ollama import NO_TLS
from tests.proxy.http.hostile import CHAT, MESSAGES, OLLAMA, asking
from tests.proxy.live import LiveServer, scripted, serving

PAGE, APP = "https://chat.example.org", "app://obsidian.md"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture(scope="module")
def off() -> Iterator[LiveServer]:
    with serving(scripted("Hello.")) as server:
        yield server


@pytest.fixture(scope="module")
def on() -> Iterator[LiveServer]:
    with serving(scripted("Hello."), cors=(PAGE, APP), api_key="k") as server:
        yield server


def ask(
    server: LiveServer, origin: str, path: str = CHAT, method: str = "POST", **headers: str
) -> httpx.Response:
    """As a browser does it: a text needs no preflight."""
    json: Any = asking(path) if method == "POST" else None
    named = {"origin": origin, **headers}
    return httpx.request(method, server.root + path, json=json, headers=named, verify=NO_TLS, timeout=20)


@pytest.mark.parametrize(
    "origin", [PAGE, "http://localhost:3000", "null", "http://[bad", "HTTP://EVIL.example"]
)
@pytest.mark.parametrize(
    ("path", "method"), [(CHAT, "POST"), (MESSAGES, "POST"), (OLLAMA, "POST"), ("/health", "GET")]
)
def test_a_page_is_refused(off: LiveServer, origin: str, path: str, method: str) -> None:
    response = ask(off, origin, path, method, **{"content-type": "text/plain"})
    assert response.status_code == 403
    assert "--cors" in response.text
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["x-request-id"]


def test_its_preflight_is_refused(off: LiveServer) -> None:
    response = httpx.request("OPTIONS", off.root + CHAT, headers={"origin": PAGE, **PREFLIGHT}, verify=NO_TLS)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_who_is_no_page_of_another_server_is_served(off: LiveServer) -> None:
    own = off.root.lower()
    for origin in (own, "vscode-webview://x", "file://", "chrome-extension://abc", APP, "tauri://localhost"):
        response = ask(off, origin)
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers


def test_a_page_behind_a_reverse_proxy_is_its_own(off: LiveServer) -> None:
    assert ask(off, PAGE, **{"sec-fetch-site": "same-origin"}).status_code == 200
    assert ask(off, PAGE, **{"x-forwarded-host": "chat.example.org"}).status_code == 200
    assert ask(off, PAGE, **{"sec-fetch-site": "same-site"}).status_code == 403
    assert ask(off, PAGE, **{"x-forwarded-host": "example.org"}).status_code == 403


@pytest.mark.parametrize("origin", [PAGE, APP])
def test_a_named_page_is_let_in(on: LiveServer, origin: str) -> None:
    headers = {"origin": origin, **PREFLIGHT, "access-control-request-private-network": "true"}
    preflight = httpx.request("OPTIONS", on.root + CHAT, headers=headers, verify=NO_TLS)
    assert preflight.status_code == 204, "without a key, which browsers do not send there"
    told = preflight.headers
    assert told["access-control-allow-origin"] == origin
    assert "POST" in told["access-control-allow-methods"]
    assert "x-stainless-os" in told["access-control-allow-headers"]
    assert told["access-control-allow-private-network"] == "true"
    answer = ask(on, origin, authorization="Bearer k")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert "x-fortieth-verdict" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


def test_the_page_can_read_an_error(on: LiveServer) -> None:
    refused = ask(on, PAGE)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
    lost = ask(on, PAGE, "/nowhere", "GET")
    assert (lost.status_code, lost.headers["access-control-allow-origin"]) == (404, PAGE)


def test_another_page_is_refused_all_the_same(on: LiveServer) -> None:
    for origin in (PAGE + ".evil.example", PAGE + ":8443", PAGE.replace("https", "http"), "null"):
        assert ask(on, origin, authorization="Bearer k").status_code == 403


def test_all_pages_may_be_let_in() -> None:
    with serving(scripted("Hello."), cors=("*",)) as server:
        for origin in (PAGE, "null", "http://localhost:3000"):
            response = ask(server, origin)
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "*")


def test_what_a_preflight_asks_for_is_no_header_of_the_answer(on: LiveServer) -> None:
    headers = {"origin": PAGE, **PREFLIGHT, "access-control-request-headers": 'a"<b>;c'}
    told = httpx.request("OPTIONS", on.root + CHAT, headers=headers, verify=NO_TLS).headers
    assert told["access-control-allow-headers"] == "authorization, content-type"


def test_origins_are_settings() -> None:
    assert load_settings({"cors": [PAGE, "*"]}, {}).cors == (PAGE, "*")
    assert load_settings({}, {"FORTIETH_CORS": f"{PAGE}, {APP}"}).cors == (PAGE, APP)
    for wrong in ("chat.example.org", PAGE + "/", PAGE + "/chat", "https://*.org/ x"):
        with pytest.raises(SettingsError, match="cors"):
            load_settings({"cors": [wrong]}, {})


@pytest.fixture(scope="module")
def near() -> Iterator[LiveServer]:
    with serving(scripted("Hello."), cors=(PAGE,), near=True) as server:
        yield server


def asked_as(server: LiveServer, host: str, path: str = CHAT) -> httpx.Response:
    return httpx.post(
        server.root + path, json=asking(path), headers={"host": host}, verify=NO_TLS, timeout=20
    )


@pytest.mark.parametrize("path", [CHAT, MESSAGES, OLLAMA])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8040", "127.0.0.1.evil.example", "EVIL.example."]
)
def test_a_page_whose_name_comes_to_point_here_is_refused(near: LiveServer, host: str, path: str) -> None:
    response = asked_as(near, host, path)
    assert response.status_code == 403
    assert "FORTIETH_API_KEY" in response.text


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost:8040",
            "127.0.0.1",
            "[::1]:8040",
            "10.0.0.7:1",
            "app.localhost",
            "host.docker.internal:8040",
        ),
        *("studio.local", "fortieth:8040", "chat.example.org", socket.gethostname()),
    ],
)
def test_who_asks_by_a_name_that_is_near_or_allowed_is_served(near: LiveServer, host: str) -> None:
    assert asked_as(near, host).status_code == 200


def test_with_a_key_any_name_will_do() -> None:
    with serving(scripted("Hello."), near=True, api_key="k") as server:
        headers = {"host": "llm.example.org", "authorization": "Bearer k"}
        response = httpx.post(
            server.root + CHAT, json=asking(CHAT), headers=headers, verify=NO_TLS, timeout=20
        )
        assert response.status_code == 200


def test_a_server_that_listens_to_the_network_takes_any_name(off: LiveServer) -> None:
    assert asked_as(off, "llm.example.org").status_code == 200
