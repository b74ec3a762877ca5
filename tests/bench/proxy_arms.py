"""What is measured: the scripted upstream alone, fortieth in front of it, and LiteLLM's proxy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from proxy.ab.processes import end_group, free_port
from tests.bench.proxy_upstream import MODEL
from tests.bench.servers import ROOT

KEY = "sk-c9f1e07b3a5548d2b6c4d7aa0e31"  # LiteLLM's proxy wants a long one
START_S = 180.0
LITELLM = "from litellm import run_server; run_server()"


@dataclass(frozen=True, slots=True)
class Arm:
    """A server that answers chat requests. pid: of its process."""

    name: str
    port: int
    pid: int


@contextlib.contextmanager
def process(
    name: str, command: Sequence[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Arm]:
    """Starts it, waits until it lists its models, stops it. Raises RuntimeError where it does not come up."""
    log = Path(tempfile.gettempdir()) / f"fortieth-bench-{name}-{port}.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [*command],
            env={**os.environ, "PYTHONPATH": str(ROOT), "FORTIETH_CACHE_DIR": "off", **(environment or {})},
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    try:
        _wait(running, port, log)
        yield Arm(name, port, running.pid)
    finally:
        end_group(running)


def _wait(running: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if running.poll() is not None:
            raise RuntimeError(f"ended at once: {log.read_text(errors='replace')[-600:]}")
        with contextlib.suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{port}/v1/models"
            if httpx.get(url, headers={"authorization": f"Bearer {KEY}"}, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"not up within {START_S:.0f} s: {log}")


@contextlib.contextmanager
def upstream() -> Iterator[Arm]:
    port = free_port()
    with process("upstream", (sys.executable, "-m", "tests.bench.proxy_upstream", str(port)), port) as arm:
        yield Arm("direct", arm.port, arm.pid)


@contextlib.contextmanager
def fortieth(behind: Arm, *options: str, config: Path | None = None, root: Path = ROOT) -> Iterator[Arm]:
    """As a user starts it. config: a fortieth.toml that names the upstream, else it is given by its URL.
    root: of the checkout that is served.
    """
    port = free_port()
    where = ("--config", str(config)) if config else ("--upstream", f"http://127.0.0.1:{behind.port}/v1")
    command = (
        sys.executable, "-m", "proxy", "serve", *where, "--port", str(port), "--log-level", "error", *options,
    )  # fmt: skip
    with process("fortieth", command, port, {"PYTHONPATH": str(root)}) as arm:
        yield arm


@contextlib.contextmanager
def litellm(python: Path, behind: Arm) -> Iterator[Arm]:
    """As its documentation has it for production: one worker, no debug lines, no retries. python: of the
    environment that holds litellm[proxy].
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(
            "model_list:\n"
            f"  - model_name: {MODEL}\n"
            f"    litellm_params: {{model: openai/{MODEL}, "
            f"api_base: http://127.0.0.1:{behind.port}/v1, api_key: none}}\n"
            "litellm_settings: {num_retries: 0, set_verbose: false}\n"
            f"general_settings: {{master_key: {KEY}}}\n"
        )
        command = (str(python), "-c", LITELLM, "--config", str(config), "--port", str(port))
        quiet = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with process("litellm", (*command, "--host", "127.0.0.1"), port, quiet) as arm:
            yield arm
