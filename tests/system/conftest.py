"""The command as a user runs it: `fortieth serve` with the bundled model, on a free port, as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

COMMAND = Path(sys.executable).parent / "fortieth"
STARTS_WITHIN_S = 90


@dataclass(frozen=True, slots=True)
class Served:
    """A running server. banner: what it printed once it was ready."""

    base_url: str
    banner: str
    process: subprocess.Popen[str]

    def engine_pid(self) -> int:
        """The engine process, a child of the server's."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "engine.worker"],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(found.stdout.split()[0])


@contextmanager
def served(*options: str, errors: IO[str] | None = None) -> Iterator[Served]:
    """`fortieth serve --port 0 OPTIONS`, ended by SIGTERM; its exit code must be 0. errors: gets its log."""
    command = [str(COMMAND), "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        try:
            banner = read_banner(process)
            address = re.search(r"http://\S+/v1", banner)
            assert address, banner
            yield Served(address.group(), banner, process)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(STARTS_WITHIN_S)
        assert code == 0


def read_banner(process: subprocess.Popen[str]) -> str:
    """Standard output up to the curl line's body."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.lstrip().startswith("-d "):
            break
    return "".join(lines)


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with served() as running:
        yield running
