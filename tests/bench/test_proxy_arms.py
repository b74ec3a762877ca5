"""The arms of the proxy's benchmark leave no process behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from proxy.ab.processes import free_port
from tests.bench.proxy_arms import process
from tests.proxy.ab.test_processes import SERVER, runs


def test_what_a_server_started_ends_with_it(tmp_path: Path) -> None:
    """Also where it does not heed the signal to end."""
    port, pid_file = free_port(), tmp_path / "pid"
    with process("test", (sys.executable, "-c", SERVER, str(port), str(pid_file)), port) as arm:
        child = int(pid_file.read_text())
        assert runs(arm.pid)
        assert runs(child)
    until = time.monotonic() + 10
    while runs(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not runs(arm.pid)
    assert not runs(child)
