"""The server as a process: what it says, how it refuses to start, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from proxy.conversation.verdict import GuardMode
from proxy.http.server import bind, engine_config, served_name
from proxy.http.settings import Settings
from proxy.http.welcome import Where, welcome
from tests.engine.tiny import make_model
from tests.proxy.requests import user

COMMAND = (sys.executable, "-m", "proxy")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny", context=4096)


@contextmanager
def server(*arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if found := re.search(pattern, seen):
            return found[1]
    assert process.stderr is not None
    raise AssertionError(f"{pattern} never came in: {seen}; {process.stderr.read()}")


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,ppid=", "-A"], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def is_alive(pid: int) -> bool:
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip()) and "Z" not in listed.stdout


def all_gone(pids: list[int], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_it_serves_and_ends_cleanly(model: Path, number: signal.Signals) -> None:
    with server(str(model), "--port", "0", FORTIETH_API_KEY="k") as process:
        base_url = read_until(process, r"base_url +(\S+)")
        read_until(process, r"(curl)")
        client = openai.OpenAI(base_url=base_url, api_key="k", max_retries=0)
        assert [m.id for m in client.models.list()] == ["tiny"]
        engines = children(process.pid)
        assert engines, "the engine is a process of its own"
        stream = client.chat.completions.create(
            model="tiny", messages=[user("hi")], stream=True, extra_body={"ignore_eos": True}
        )
        next(stream)
        process.send_signal(number)
        time.sleep(0.2)
        process.send_signal(number)  # the second one ends the stream at once
        with pytest.raises(openai.APIError, match="closed"):
            list(stream)
        assert process.wait(30) == 0
        assert all_gone(engines)


def test_its_engine_dies_with_it(model: Path) -> None:
    with server(str(model), "--port", "0") as process:
        read_until(process, r"base_url +(\S+)")
        engines = children(process.pid)
        process.kill()
        process.wait(30)
        assert engines
        assert all_gone(engines)


def test_a_signal_while_the_model_loads(model: Path) -> None:
    with server(str(model), "--port", "0", "--log-level", "info") as process:
        assert process.stderr is not None
        assert any("starting" in line for line in process.stderr)
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


REFUSALS = {
    "no_such_model": (["./nowhere"], {}, "nowhere"),
    "no_model_directory": ([str(ROOT / "tests")], {}, "config.json"),
    "unknown_setting": ([], {"FORTIETH_PROT": "1"}, "FORTIETH_PROT: unknown setting; did you mean port?"),
    "bad_port": (["--port", "99999"], {}, "--port"),
    "bad_host": (["--host", "999.1.1.1"], {}, "cannot listen on 999.1.1.1"),
    "no_config": (["--config", "nowhere.toml"], {}, "nowhere.toml cannot be read"),
}


@pytest.mark.parametrize(("arguments", "env", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_start_is_one_clear_line(arguments: list[str], env: dict[str, str], words: str) -> None:
    with server("--port", "0", *arguments, **env) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == (2 if env or "--port" in arguments or "--config" in arguments else 1)
    assert out == ""
    assert err.startswith("fortieth: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_taken_port(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with server(str(model), "--port", port) as process:
            _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines() == [f"fortieth: cannot listen on 127.0.0.1 port {port}: Address already in use"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_answers_leave_at_once(host: str) -> None:
    """Nagle's algorithm and the client's delayed acknowledgement would add 40 ms to each."""
    accepted: asyncio.Queue[int] = asyncio.Queue()

    def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = bind(host, 0)
    async with await asyncio.start_server(on_connection, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        assert await accepted.get() == 1
        writer.close()
        await writer.wait_closed()


def test_the_ready_screen_shows_how_the_command_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "fortieth"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    for argv, path, shown in (
        (str(command), "/nowhere", str(command)),
        (str(command), str(tmp_path), "fortieth"),
        ("/somewhere/proxy/__main__.py", str(tmp_path), f"{sys.executable} -m fortieth"),
    ):
        monkeypatch.setattr(sys, "argv", [argv])
        monkeypatch.setenv("PATH", path)
        text = welcome(Where("127.0.0.1", 8040), "m", GuardMode.repair, needs_key=False)
        assert f"  command   {shown} (" in text


def test_the_curl_line_is_a_request(model: Path) -> None:
    text = welcome(Where("0.0.0.0", 8040), "it's", GuardMode.repair, needs_key=True)
    assert "http://127.0.0.1:8040/v1" in text
    assert "guard     repair" in text
    curl = text[text.index("curl") :]
    arguments = subprocess.run(
        ["sh", "-c", 'curl() { printf "%s\\0" "$@"; }\n' + curl], capture_output=True, check=True
    ).stdout.split(b"\0")
    sent = json.loads(arguments[arguments.index(b"-d") + 1])
    assert sent["model"] == "it's"
    assert sent["tools"][0]["function"]["name"]
    assert b"authorization: Bearer YOUR_KEY" in arguments


@pytest.mark.parametrize(
    ("settings", "path", "name"),
    [
        (Settings(), "/x/fortieth-tiny", "fortieth-tiny"),
        (Settings(model="owner/model"), "/cache/snapshots/abc123", "owner/model"),
        (Settings(model=str(ROOT)), str(ROOT), ROOT.name),
        (Settings(model="owner/model", served_model_name="mine"), "/x", "mine"),
    ],
    ids=["bundled", "hub", "directory", "named"],
)
def test_the_name_that_clients_see(settings: Settings, path: str, name: str) -> None:
    assert served_name(settings, Path(path)) == name


def test_the_routes_of_a_served_model(model: Path) -> None:
    with server(str(model), "--port", "0", "--served-model-name", "mine", "--guard", "off") as process:
        base_url = read_until(process, r"base_url +(\S+)")
        assert read_until(process, r"guard +(\S+)") == "off"
        models = httpx.get(base_url + "/models").json()["data"]
        assert [(m["id"], m["max_model_len"]) for m in models] == [("mine", 4096)]
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("settings", "batch", "queue"),
    [
        (Settings(max_batch=4, queue_limit=10), 4, 10),
        (Settings(max_batch=4, queue_limit=10, deterministic=True), 1, 13),
        (Settings(max_batch=1, queue_limit=0, deterministic=True), 1, 0),
    ],
    ids=["batched", "serial", "serial_anyway"],
)
def test_serial_decoding_admits_as_many(settings: Settings, batch: int, queue: int) -> None:
    config = engine_config(settings, Path("/m"))
    assert (config.max_batch, config.queue_limit) == (batch, queue)
    assert config.stream_interval_s == 0.05
