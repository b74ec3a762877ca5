"""The engine may die: clients get a clean error, the server heals by itself, the next request works."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.system.conftest import Served, served

HEALTHY_WITHIN_S = 60
LONG = {"ignore_eos": True, "max_tokens": 1500, "temperature": 0}
# behind its end the model goes on with a call, which the guard would hold back
UNHELD = {"x-fortieth-guard": "off"}


@pytest.fixture
def fresh() -> Iterator[Served]:
    with served() as running:
        yield running


def wait_until_healthy(base_url: str) -> None:
    """Poll /health; fails where the server does not heal in time."""
    until = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < until:
        if httpx.get(base_url.removesuffix("/v1") + "/health", timeout=30).status_code == 200:
            return
        time.sleep(0.2)
    pytest.fail("the server did not become healthy again")


def kill_after_five(stream: openai.Stream[ChatCompletionChunk], running: Served) -> None:
    """Read a stream to its end; kill the engine after the fifth piece of text."""
    seen = 0
    for chunk in stream:
        seen += bool(chunk.choices and chunk.choices[0].delta.content)
        if seen == 5:
            os.kill(running.engine_pid(), signal.SIGKILL)
            seen += 1
    assert seen > 5


def test_kill_the_engine_during_a_stream(fresh: Served) -> None:
    with openai.OpenAI(base_url=fresh.base_url, api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": "Hello!"}],
            stream=True,
            extra_body=LONG,
            extra_headers=UNHELD,
        )
        with pytest.raises(openai.APIError, match="SIGKILL"):
            kill_after_five(stream, fresh)
        wait_until_healthy(fresh.base_url)
        answer = client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "Hello!"}], temperature=0
        )
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content


def test_health_tells_the_truth_while_the_engine_is_stopped(fresh: Served) -> None:
    """A process that lives but makes no token is not healthy."""
    url = fresh.base_url.removesuffix("/v1") + "/health"
    assert httpx.get(url, timeout=30).status_code == 200
    pid = fresh.engine_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1.5)  # longer than an answer is kept
        answer = httpx.get(url, timeout=60)
        assert answer.status_code == 503
        assert json.loads(answer.text)["reason"]
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until_healthy(fresh.base_url)
