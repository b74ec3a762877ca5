"""`fortieth connect`: what it prints, what it writes, what it asks the server, and how it refuses."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from proxy.cli.connections.server import BadAddress, read_origin
from proxy.cli.connections.table import CLIENTS
from proxy.cli.main import cli
from tests.proxy.upstreams.wire import WireUpstream, told, wire_serving

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def server() -> Iterator[WireUpstream]:
    with wire_serving(WireUpstream(told("x"))) as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("VIBE_HOME", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "FORTIETH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def connect(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["connect", *arguments])


def models(upstream: WireUpstream, *cards: dict[str, Any] | str) -> Sequence[str]:
    upstream.models = [{"id": card} if isinstance(card, str) else card for card in cards]
    return "--base-url", upstream.base_url


def test_all_clients_are_listed() -> None:
    result = connect()
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(CLIENTS)


def test_the_server_is_asked_for_its_model(server: WireUpstream) -> None:
    url = models(server, {"id": "first", "max_model_len": 7000}, "second")
    result = connect("codex", *url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert 'model = "first"\n' in result.stdout
    assert "model_context_window = 7000\n" in result.stdout
    assert f'base_url = "{server.base_url}"' in result.stdout
    assert 'model = "second"' in connect("codex", *url, "--model", "second").stdout


@pytest.mark.parametrize(
    ("served", "asked", "used", "why"),
    [
        (["a", "b"], "c", "c", "does not list 'c'; it has a, b"),
        ([], "", "default", "it has none"),
        (None, "", "default", "refuses to list its models (500)"),
    ],
    ids=["unknown", "none", "fails"],
)
def test_what_the_server_does_not_tell_is_told(
    server: WireUpstream, served: list[str] | None, asked: str, used: str, why: str
) -> None:
    url = models(server, *(served or ()))
    if served is None:
        server.models = None
    result = connect("pi", *url, *(["--model", asked] if asked else []))
    assert result.exit_code == 0
    assert why in result.stderr
    assert f"--model {used}\n" in result.stdout


def test_a_server_that_is_not_there_may_be_started_later() -> None:
    result = connect("langchain", "--base-url", NOBODY)
    assert result.exit_code == 0
    assert f"no server answers at {NOBODY}" in result.stderr
    assert f'ChatOpenAI(model="default", base_url="{NOBODY}/v1", api_key="none")' in result.stdout


def test_the_key_comes_from_the_flag_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORTIETH_API_KEY", "sk-env")
    assert 'api_key="sk-env"' in connect("openai", "--base-url", NOBODY).stdout
    assert 'api_key="none"' in connect("openai", "--base-url", NOBODY, "--key", "").stdout
    assert 'api_key="sk-flag"' in connect("openai", "--base-url", NOBODY, "--key", "sk-flag").stdout


def test_files_are_written(server: WireUpstream, home: Path) -> None:
    own = home / ".vibe/config.toml"
    own.parent.mkdir()
    own.write_text('theme = "mine"\n')
    result = connect("vibe", *models(server, "m"), "--write")
    assert result.exit_code == 0
    assert f"# {own} was changed; config.toml.bak-" in result.stdout
    assert tomllib.loads(own.read_text())["theme"] == "mine"
    assert "has the settings already" in connect("vibe", *models(server, "m"), "--write").stdout
    assert len(list(own.parent.glob("*.bak-*"))) == 1
    other = connect("claude-code", *models(server, "m"), "--write")
    path = home / ".claude/fortieth.json"
    assert f"# {path} was written." in other.stdout
    assert json.loads(path.read_text())["env"]["ANTHROPIC_MODEL"] == "m"
    assert f"claude --settings {path}" in other.stdout


def test_without_write_nothing_is(server: WireUpstream, home: Path) -> None:
    for name in CLIENTS:
        assert connect(name, *models(server, "m")).exit_code == 0
    assert list(home.iterdir()) == []


def test_a_client_without_files_has_nothing_to_write(server: WireUpstream, home: Path) -> None:
    result = connect("qwen-code", *models(server, "m"), "--write")
    assert result.exit_code == 0
    assert "qwen-code has no file for these settings" in result.stderr
    assert f"export OPENAI_BASE_URL={server.base_url}\n" in result.stdout
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["langchian"], "no client 'langchian' is known, did you mean langchain?"),
        (["zzz"], "no client 'zzz' is known (`fortieth connect` lists them)"),
        (["pi", "--base-url", "127.0.0.1:8040"], "must be like http://127.0.0.1:8040"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], why: str) -> None:
    result = connect(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("fortieth: connect: ")
    assert why in result.stderr
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)


def test_an_unusable_file_is_one_line(home: Path) -> None:
    path = home / ".pi/agent/models.json"
    path.parent.mkdir(parents=True)
    path.write_text("{ // mine\n}")
    result = connect("pi", "--base-url", NOBODY, "--write")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"fortieth: connect: {path} is no plain JSON")
    assert path.read_text() == "{ // mine\n}"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("http://127.0.0.1:8040", "http://127.0.0.1:8040"),
        ("http://127.0.0.1:8040/v1/", "http://127.0.0.1:8040"),
        (" https://host/behind/v1 ", "https://host/behind"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_a_base_url_is_read(given: str, origin: str) -> None:
    assert read_origin(given) == origin


@pytest.mark.parametrize(
    "given", ["", "host", "ftp://h", "http://", "http://h:x", "http://h/?a=1", "http://[::1"]
)
def test_what_is_no_base_url_is_refused(given: str) -> None:
    with pytest.raises(BadAddress, match="must be like"):
        read_origin(given)
