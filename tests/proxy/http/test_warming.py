"""Warm prompts: files of them, good and bad, and what a server does with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from engine.config import EngineConfig
from proxy.cli.main import cli
from proxy.conversation.errors import SettingsError, StartError
from proxy.http.settings import Settings
from proxy.http.warming import read_file, warm_prompts, warm_up
from proxy.upstreams.engine import EngineUpstream
from tests.engine.tiny import make_model
from tests.proxy.live import LiveServer, LoopThread, scripted, serving
from tests.proxy.requests import CLOCK, user

SYSTEM = {"role": "system", "content": "You are a careful agent that works in a repository. " * 3}
ONE: dict[str, Any] = {"messages": [SYSTEM], "tools": [CLOCK]}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (json.dumps(ONE), ["entry 1"]),
        (json.dumps(ONE, indent=2), ["entry 1"]),
        (json.dumps([ONE, ONE]), ["entry 1", "entry 2"]),
        (f"{json.dumps(ONE)}\n\n{json.dumps(ONE)}\n", ["line 1", "line 3"]),
        ("", []),
        ("[]", []),
    ],
    ids=["object", "indented", "array", "lines", "empty", "none"],
)
def test_what_is_read(tmp_path: Path, text: str, places: list[str]) -> None:
    path = write(tmp_path / "warm.jsonl", text)
    assert [prompt.place for prompt in read_file(path)] == [f"{path} {place}" for place in places]


LINE = json.dumps(ONE)
BAD = {
    "no_json": (f"{LINE}\n{{'messages': 1}}", "line 2: this is not valid JSON"),
    "cut_array": (f"[{LINE},", "this is not valid JSON"),
    "no_object": (f"{LINE}\n[1]", "line 2: must be an object with messages, got list"),
    "no_messages": ('{"tools": []}', "entry 1: messages"),
    "unknown": ('{"messages": [], "tolls": []}', "entry 1: unknown field 'tolls'"),
    "bad_role": (f'[{LINE}, {{"messages": [{{"role": 7}}]}}]', "entry 2: messages[0].role"),
    "bad_tool": ('{"messages": [{"role": "user", "content": "hi"}], "tools": [7]}', "tools[0]"),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_a_bad_file_is_told_by_line_and_field(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path / "warm.jsonl", text)
    with pytest.raises(StartError) as caught:
        read_file(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(StartError, match="cannot be read"):
        read_file(tmp_path / "nowhere")


def test_only_the_engine_can_be_warmed(tmp_path: Path) -> None:
    path = write(tmp_path / "warm.json", LINE)
    assert warm_prompts(Settings()) == []
    assert len(warm_prompts(Settings(warm_prompts=path))) == 1
    with pytest.raises(SettingsError, match="warm_prompts"):
        warm_prompts(Settings(warm_prompts=path, upstream=("http://127.0.0.1:1/v1",)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LiveServer, EngineUpstream, LoopThread]]:
    thread = LoopThread()
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model), max_batch=2), "tiny"), 120)
    with serving(upstream, thread=thread) as live:
        yield live, upstream, thread
    thread.run(upstream.close())
    thread.close()


Live = tuple[LiveServer, EngineUpstream, LoopThread]


def cached(server: LiveServer, body: dict[str, Any]) -> int:
    response = server.post({**body, "max_tokens": 2})
    assert response.status_code == 200, response.text
    found: int = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return found


def test_a_conversation_that_was_warmed_begins_warm(server: Live, tmp_path: Path) -> None:
    live, upstream, thread = server
    path = write(tmp_path / "warm.json", LINE)
    thread.run(warm_up(upstream, read_file(path)))
    begun = {**ONE, "messages": [SYSTEM, user("What time is it?")]}
    size = len(SYSTEM["content"])
    assert cached(live, begun) > size


def test_a_running_server_is_warmed_from_the_command_line(server: Live, tmp_path: Path) -> None:
    live, _, _ = server
    other = {"messages": [{"role": "system", "content": "Another system prompt altogether. " * 5}]}
    path = write(tmp_path / "warm.jsonl", json.dumps(other))
    told = []
    for _ in range(2):
        result = CliRunner().invoke(cli, ["cache", "warm", str(path), "--base-url", live.base_url])
        assert result.exit_code == 0, result.output
        assert f"{path} entry 1: " in result.output
        told.append([int(word) for word in result.output.replace(str(path), "").split() if word.isdigit()])
    (size, first), (_, second) = told
    assert first < 20 < size - 20 < second, "but for the head that all prompts share"
    assert cached(live, {"messages": [*other["messages"], user("Hello")]}) > 150


def test_a_prompt_that_is_too_long_is_refused_with_its_place(server: Live, tmp_path: Path) -> None:
    live, _, _ = server
    path = write(tmp_path / "w.json", json.dumps({"messages": [{"role": "system", "content": "x" * 3000}]}))
    result = CliRunner().invoke(cli, ["cache", "warm", str(path), "--base-url", live.base_url])
    assert result.exit_code == 1
    assert f"{path} entry 1" in result.output
    assert "400" in result.output


def test_servers_that_cannot_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "warm.json", LINE)
    with serving(scripted("hi")) as live:
        result = CliRunner().invoke(cli, ["cache", "warm", str(path), "--base-url", live.base_url])
    assert result.exit_code == 1
    assert "keeps no prefixes" in result.output
    result = CliRunner().invoke(cli, ["cache", "warm", str(path), "--base-url", live.base_url])
    assert result.exit_code == 1
    assert "cannot be reached" in result.output


def test_the_figures_of_the_cache_are_scraped(server: Live) -> None:
    live, _, _ = server
    live.post({"messages": [user("tell me")], "max_tokens": 2})
    lines = httpx.get(f"{live.root}/metrics").text.splitlines()
    figures = dict(line.rsplit(" ", 1) for line in lines if line.startswith("fortieth_p"))
    causes = {name: value for name, value in figures.items() if "prompt_prefixes_total" in name}
    assert sum(float(value) for name, value in causes.items() if 'cause="cold"' in name) >= 1
    requests = [f'fortieth_prefix_cache_requests_total{{tier="{tier}"}}' for tier in ("ram", "disk", "none")]
    assert sum(float(figures[name]) for name in requests) >= 1
    assert float(figures['fortieth_prefix_cache_bytes{tier="ram"}']) > 0
    assert float(figures['fortieth_prefix_cache_limit_bytes{tier="ram"}']) > 0
    assert figures['fortieth_prefix_cache_limit_bytes{tier="disk"}'] == "0.0"
    assert float(figures["fortieth_prefix_cache_prompt_tokens_total"]) > 0
