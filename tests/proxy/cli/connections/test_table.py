"""Each client's settings are sound in the language that they are written in, whatever a model is called."""

from __future__ import annotations

import ast
import json
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli.connections.base import ClientKind, ClientSettings, FileFormat, ServerAddress, SupportedClient
from proxy.cli.connections.table import CLIENTS
from proxy.cli.connections.text import listing, settings_text

HOME = Path("/home/some one")
SERVERS = [
    ServerAddress("http://127.0.0.1:8040", "some-model", "sk-1", 20_000),
    ServerAddress("http://h:1", 'q"w\\e: $model é', 'k"\\y', 20_000),
]
JAVASCRIPT = {"ai-sdk", "openai-node"}


def filled(client: SupportedClient, server: ServerAddress) -> ClientSettings:
    return client.settings_for(server, HOME, {})


def said(value: Any) -> str:
    """All texts of a value, on lines."""
    match value:
        case dict():
            return "\n".join(said(one) for pair in value.items() for one in pair)
        case list() | tuple():
            return "\n".join(map(said, value))
        case _:
            return str(value)


def read(text: str, path: Path) -> Any:
    return tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)


@pytest.mark.parametrize("server", SERVERS, ids=["plain", "odd"])
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_settings_say_the_server_and_the_model(client: SupportedClient, server: ServerAddress) -> None:
    settings = filled(client, server)
    parts: list[Any] = [settings.variables, settings.setup, settings.command]
    for file in settings.files:
        content = file.content
        parts.append(read(content, Path(file.name)) if isinstance(content, str) else content)
    if client.name in JAVASCRIPT:
        # a string of JavaScript in double quotes is one of JSON
        strings = [part for part in settings.code.splitlines() if '"' in part]
        assert all(json.dumps(text, ensure_ascii=False) in "\n".join(strings) for text in (server.model,))
        parts.append([server.model, server.base_url, server.key])
    elif settings.code:
        tree = ast.parse(settings.code)
        parts.append([one.value for one in ast.walk(tree) if isinstance(one, ast.Constant)])
    told = said(parts)
    assert server.model in told
    assert server.origin in told
    assert server.key in told


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_shell_reads_the_printed_settings_back(client: SupportedClient) -> None:
    settings = filled(client, SERVERS[1])
    paths = [file.path(HOME, {}) for file in settings.files]
    text = settings_text(client, settings, paths, None)
    lines = text.splitlines()
    for words in (settings.setup, settings.command):
        assert not words or list(words) in [shlex.split(line) for line in lines if line.startswith(words[0])]
    exported = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
    if client.kind is ClientKind.agent:
        assert exported == [f"{name}={value}" for name, value in settings.variables.items()]
    assert all(str(path) in text for path in paths)


def test_the_context_is_a_number_where_it_has_to_be() -> None:
    settings = filled(CLIENTS["opencode"], SERVERS[0])
    content = settings.files[0].content
    assert not isinstance(content, str)
    assert content["provider"]["fortieth"]["models"]["some-model"]["limit"]["context"] == 20_000
    claude = filled(CLIENTS["claude-code"], SERVERS[0]).files[0].content
    assert not isinstance(claude, str)
    assert claude["env"]["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "20000"


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_row_is_whole(client: SupportedClient) -> None:
    settings = client.settings
    assert client.speaks in ("chat completions", "responses", "messages")
    assert bool(settings.code) == (client.kind is ClientKind.library) != bool(settings.command)
    assert all(isinstance(file.content, str) != (file.format is FileFormat.json) for file in settings.files)
    assert f"\n{client.name} " in f"\n{listing(CLIENTS.values())}"
