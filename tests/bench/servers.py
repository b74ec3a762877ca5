"""Servers as processes: ours and those it is measured against, each on a port of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from proxy.ab.processes import end_group, free_port

START_S = 180.0
RAPID_MLX = "from rapid_mlx.dependency_repair import cli_entrypoint; cli_entrypoint()"
VLLM_MLX = "from vllm_mlx.cli import main; main()"
# Greedy texts of random weights repeat themselves, and are to go on all the same.
ENDLESS = (("FORTIETH_STOP_REPETITION", "false"),)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Server:
    """How one is started. python: of the environment it is installed in. command: what follows; {model} and
    {port} are filled in. module: what must be importable there.
    """

    name: str
    python: str
    module: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def missing(self) -> str:
        """Why it cannot be started; "" when it can."""
        if not Path(self.python).exists():
            return f"no {self.python}"
        check = [
            self.python,
            "-c",
            f"import importlib.util, sys; sys.exit(not importlib.util.find_spec('{self.module}'))",
        ]
        return (
            "" if subprocess.run(check, check=False).returncode == 0 else f"no {self.module} in {self.python}"
        )


class Live(Protocol):
    """A server that runs: its port, and the process of it."""

    @property
    def port(self) -> int: ...

    @property
    def pid(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Running:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid


def ours(*options: str) -> Server:
    command = (
        "-m",
        "proxy",  # and no module of it: other versions have others
        "serve",
        "{model}",
        "--port",
        "{port}",
        *options,
    )
    return Server("fortieth", sys.executable, "proxy", command, ENDLESS)


def rivals(folder: Path) -> list[Server]:
    """Each in a virtual environment of its own in `folder`, named as here; mlx_lm comes with us."""

    def python(name: str) -> str:
        return str(folder / name / "bin" / "python")

    return [
        Server(
            "mlx_lm.server",
            sys.executable,
            "mlx_lm",
            ("-m", "mlx_lm", "server", "--model", "{model}", "--port", "{port}"),
        ),
        Server(
            "vllm-mlx",
            python("vllm-mlx"),
            "vllm_mlx",
            ("-c", VLLM_MLX, "serve", "{model}", "--port", "{port}", "--continuous-batching"),
        ),
        Server(
            "rapid-mlx",
            python("rapid-mlx"),
            "rapid_mlx",
            ("-c", RAPID_MLX, "serve", "{model}", "--port", "{port}", "--no-preflight"),
        ),
    ]


@contextlib.contextmanager
def running(server: Server, model: Path, blas: Path | None = None) -> Iterator[Running]:
    """Start it, wait until it answers, stop it. blas: preloaded, so that all compute with the same one.

    Raises RuntimeError when it does not come up.
    """
    port = free_port()
    command = [part.format(model=model, port=port) for part in server.command]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **dict(server.environment)}
    if blas is not None:
        environment |= {"LD_PRELOAD": str(blas), "OPENBLAS_NUM_THREADS": "1"}
    log = Path(tempfile.gettempdir()) / f"fortieth-bench-{server.name}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [server.python, *command],
            env=environment,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    try:
        wait_until_up(process, port, log)
        yield Running(port, process)
    finally:
        end_group(process)


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"ended at once: {log.read_text(errors='replace')[-300:]}")
        if answers(port):
            return
        time.sleep(0.2)
    raise RuntimeError(f"not up within {START_S:.0f} s")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def children(pid: int) -> list[int]:
    """Of a process, its own and theirs (Linux)."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *children(int(child))]
    return found


def engine_pid(server_pid: int) -> int:
    """The engine process of one of our servers; 0 while there is none."""
    for pid in children(server_pid):
        with contextlib.suppress(OSError):
            if b"engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0


def resident(pid: int) -> int:
    """Bytes of RAM that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
