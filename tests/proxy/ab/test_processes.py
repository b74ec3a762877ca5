"""Servers of arms as processes: up, dead at once, silent, and ended with all that they started."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.ab.arms import Arm
from proxy.ab.processes import resident_bytes, start_arm, stop_arm
from proxy.ab.run import started
from proxy.conversation.errors import StartError

SERVER = """
import http.server, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the child inherits it
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
signal.signal(signal.SIGTERM, signal.SIG_DFL)
open(sys.argv[2], "w").write(str(child.pid))
class Models(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "m"}]}')
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Models).serve_forever()
"""


def arm(*command: str) -> Arm:
    return Arm("test", "test", command=(sys.executable, "-c", *command))


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_server_is_started_and_ended_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    server = await start_arm(arm(SERVER, "{port}", str(pid_file)), tmp_path, patience_s=30)
    child = int(pid_file.read_text())
    assert server.process is not None
    try:
        assert (server.model, server.ended) == ("m", "")
        alone = resident_bytes(child)
        together = resident_bytes(server.process.pid)
        assert alone is not None
        assert together is not None
        assert together > alone > 2**20
    finally:
        stop_arm(server)
    assert "exit code" in server.ended
    until = time.monotonic() + 10
    while runs(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not runs(child)
    stop_arm(server)  # once more does nothing


async def test_the_caches_of_started_servers_go_with_them(tmp_path: Path) -> None:
    cache = tmp_path / "arm-1" / "cache"
    async with started([arm(SERVER, "{port}", os.devnull)], tmp_path, "", "", lambda words: None) as servers:
        (cache / "blobs").mkdir(parents=True)
    assert "exit code" in servers[0].ended
    assert [path.name for path in cache.parent.iterdir()] == ["server.log"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            arm("import sys; print('first'); sys.exit('no such model')", "{port}"),
            "exit code 1: no such model",
        ),
        (arm("import sys; sys.exit(3)", "{port}"), "the server ended with exit code 3"),
        (arm("import time; time.sleep(60)", "{port}"), "it did not come up within 1 s, as http://127.0.0.1:"),
        (Arm("test", "test", command=("/no/such/program", "{port}")), "/no/such/program cannot be started"),
    ],
)
async def test_a_server_that_does_not_come_up_is_one_line(command: Arm, said: str, tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        await start_arm(command, tmp_path, patience_s=1)
    assert str(caught.value).startswith("arm test: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_server_whose_model_is_known_need_not_list_it(tmp_path: Path) -> None:
    code = SERVER.replace(
        "self.send_response(200)", "self.send_response(200 if self.path == '/health' else 500)"
    )
    known = replace(arm(code, "{port}", os.devnull), asked_as="known")
    server = await start_arm(known, tmp_path, patience_s=30)
    stop_arm(server)
    assert server.model == "known"


async def test_a_started_server_that_wants_a_key_gets_it(tmp_path: Path) -> None:
    code = SERVER.replace(
        "self.send_response(200)",
        "self.send_response(200 if self.headers['authorization'] == 'Bearer k' else 401)",
    )
    server = await start_arm(arm(code, "{port}", os.devnull), tmp_path, patience_s=30, api_key="k")
    stop_arm(server)
    assert server.model == "m"


@pytest.mark.parametrize(
    ("key", "said"), [("other", "wants another key than that of"), ("", "wants a key, which is read from")]
)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_told_at_once(
    key: str, said: str, status: int, tmp_path: Path
) -> None:
    code = SERVER.replace("self.send_response(200)", f"self.send_response({status})")
    told = rf"^arm test: http\S*/models answers with HTTP {status}: it {said} AB_API_KEY$"
    with pytest.raises(StartError, match=told):
        await start_arm(arm(code, "{port}", os.devnull), tmp_path, patience_s=300, api_key=key)


async def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = arm(SERVER.replace("int(sys.argv[1])", str(port)), "{port}", os.devnull)
        with pytest.raises(StartError, match=r"exit code 1: OSError.*in use"):
            await start_arm(command, tmp_path, patience_s=30)


async def test_an_address_without_a_server_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StartError, match="does not answer: ConnectError"):
        await start_arm(Arm("a", "a", base_url=f"http://127.0.0.1:{port}/v1"), tmp_path)
    with pytest.raises(StartError, match="is no address"):
        await start_arm(Arm("a", "a", base_url="http://[::1/v1"), tmp_path)
