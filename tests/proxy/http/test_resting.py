"""A server whose engine process has ended for want of requests, as its clients and its operator see it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.types import EngineStats
from proxy.conversation.errors import SettingsError
from proxy.http.read_settings import load_settings
from proxy.http.server import engine_config
from proxy.upstreams.capabilities import Capabilities
from tests.engine.tiny import make_model
from tests.proxy.http.test_server import children, read_until, server
from tests.proxy.live import scripted, serving
from tests.proxy.records.test_metrics import parse


def settings(**flags: Any) -> Any:
    return engine_config(load_settings(flags, {}), Path("/m"))


def test_off_is_the_default_and_minutes_become_seconds() -> None:
    assert (settings().idle_unload_s, settings().cache_ram_ttl_s) == (None, 3600.0)
    assert settings(idle_unload="off", cache_ram_ttl="off").idle_unload_s is None
    assert settings(idle_unload="off", cache_ram_ttl="off").cache_ram_ttl_s is None
    assert settings(idle_unload="1.5", cache_ram_ttl=60).idle_unload_s == 90.0
    for wrong in ("0", "-1", "soon"):
        with pytest.raises(SettingsError, match="--idle-unload"):
            load_settings({"idle_unload": wrong}, {})


@pytest.mark.parametrize(
    ("state", "up", "resting"),
    [("ready", 1, 0), ("resting", 1, 1), ("waking", 1, 0), ("restarting", 0, 0), ("closed", 0, 0)],
)
def test_health_and_metrics_name_the_state(state: str, up: int, resting: int) -> None:
    stats = EngineStats(state=state, reason="", pid=0, restarts=0, running=0, waiting=0, tokens_generated=0)
    upstream = scripted("hi")
    upstream.capabilities = Capabilities(stats=lambda: stats)
    with serving(upstream) as live:
        assert httpx.get(live.root + "/health").json()["engine"] == state
        found = parse(httpx.get(live.root + "/metrics").text)
    assert found[("fortieth_engine_up", ())] == up
    assert found[("fortieth_engine_resting", ())] == resting


def test_without_an_engine_of_its_own_health_names_none() -> None:
    with serving(scripted("hi")) as live:
        assert "engine" not in httpx.get(live.root + "/health").json()


def wait_until_resting(root: str, pid: int) -> None:
    until = time.monotonic() + 60
    while children(pid) or httpx.get(root + "/health").json()["engine"] != "resting":
        assert time.monotonic() < until, "it has not gone to rest"
        time.sleep(0.05)


def test_a_session_goes_on_after_a_rest(tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny", context=4096)
    options = ("--port", "0", "--cache-dir", str(tmp_path / "cache"), "--idle-unload", "0.01")
    with server(str(model), *options) as process:
        base_url = read_until(process, r"base_url +(\S+)")
        root = base_url.removesuffix("/v1")
        messages = [{"role": "user", "content": "a long conversation " * 20}]

        def ask() -> dict[str, Any]:
            headers = {"x-session-id": "mine"}
            asked = {
                "model": "tiny",
                "messages": messages,
                "max_tokens": 4,
                "temperature": 0,
                "ignore_eos": True,
            }
            response = httpx.post(base_url + "/chat/completions", json=asked, headers=headers, timeout=60)
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json()
            return answer

        first = ask()
        wait_until_resting(root, process.pid)
        (listed,) = httpx.get(base_url + "/fortieth/sessions").json()["data"]
        assert (listed["id"], listed["cache"]["ram_bytes"]) == ("mine", 0)
        assert parse(httpx.get(root + "/metrics").text)[("fortieth_engine_resting", ())] == 1
        messages += [first["choices"][0]["message"], {"role": "user", "content": "and so on"}]
        again = ask()
        known = first["usage"]["prompt_tokens"]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= known - 1
        process.terminate()
        assert process.wait(60) == 0
