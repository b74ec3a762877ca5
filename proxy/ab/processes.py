"""The servers of an A/B run as processes: started, waited for, looked at, stopped with all their children."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from proxy.ab import API_KEY
from proxy.ab.arms import MODEL, PORT, UPSTREAM, Arm
from proxy.conversation.errors import StartError

HOST = "127.0.0.1"
START_S = 300.0
_POLL_S = 0.2
_STOP_S = 20.0
_SHOWN = 300
# A variable of the caller's shell must not change one arm, or all of them, unseen.
_OURS = "FORTIETH_"


class KeyRefused(StartError):
    """The server wants another key than it was given, which waiting does not change."""


@dataclass(frozen=True, slots=True)
class ArmServer:
    """A server that answers. process: None where it was running before. command: as it was started."""

    arm: Arm
    base_url: str
    model: str
    process: subprocess.Popen[bytes] | None = None
    command: tuple[str, ...] = ()
    log: Path | None = None

    @property
    def ended(self) -> str:
        """Why the process is gone, with the last line that it wrote; "" while it runs."""
        if self.process is None or self.process.poll() is None:
            return ""
        return f"the server ended with exit code {self.process.returncode}{last_line(self.log)}"


async def start_arm(
    arm: Arm, folder: Path, upstream: str = "", patience_s: float = START_S, api_key: str = ""
) -> ArmServer:
    """Starts the arm's server on a free port, or finds the one that runs; waits until it lists its models.

    folder: for its log, its settings and its cache.
    upstream: base_url of the server that it is to ask; "" for its own model.

    Raises StartError where it does not come up; nothing of it is left then.
    """
    if arm.base_url:
        try:
            model = await _listed_model(arm.base_url, api_key)
        except StartError as error:
            raise StartError(f"arm {arm.label}: {error}") from error
        return ArmServer(arm, arm.base_url, arm.asked_as or model)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = command_of(arm, port, folder, upstream)
    log = folder / "server.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                env={**environment, "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"arm {arm.label}: {command[0]} cannot be started: {error.strerror}") from error
    server = ArmServer(arm, f"http://{HOST}:{port}/v1", "", process, tuple(command), log)
    try:
        return await _until_up(server, patience_s, api_key)
    except BaseException:
        stop_arm(server)
        raise


def command_of(arm: Arm, port: int, folder: Path, upstream: str) -> list[str]:
    """The command line of an arm. A fortieth gets a settings file of its own, and an empty cache on disk."""
    filled = {MODEL: arm.model, PORT: str(port), UPSTREAM: upstream}
    if not arm.is_ours:
        return [_filled(part, filled) for part in arm.command]
    settings = {"cache_dir": str(folder / "cache"), "log_level": "error", **dict(arm.settings)}
    file = folder / "fortieth.toml"
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    source = ["--upstream", upstream] if upstream else [arm.model]
    entry = Path(__file__).resolve().parents[2] / "fortieth.py"
    return [sys.executable, str(entry), "serve", *source, "--port", str(port), "--config", str(file)]


def _filled(part: str, values: Mapping[str, str]) -> str:
    for mark, value in values.items():
        part = part.replace(mark, value)
    return part


def _toml(value: str) -> str:
    """A value as TOML: numbers and truth values as they are, all else as a string."""
    plain = value in ("true", "false")
    with contextlib.suppress(ValueError):
        float(value)
        plain = True
    return value if plain else json.dumps(value)


async def _until_up(server: ArmServer, patience_s: float, api_key: str) -> ArmServer:
    until = time.monotonic() + patience_s
    last = ""
    while time.monotonic() < until:
        if server.ended:
            raise StartError(f"arm {server.arm.label}: {server.ended}")
        try:
            model = await _listed_model(server.base_url, api_key, server.arm.asked_as)
        except KeyRefused as error:
            raise StartError(f"arm {server.arm.label}: {error}") from error
        except StartError as error:
            last = str(error)
        else:
            if not server.ended:
                return replace(server, model=server.arm.asked_as or model)
        await asyncio.sleep(_POLL_S)
    raise StartError(
        f"arm {server.arm.label}: it did not come up within {patience_s:.0f} s, as {last}"
        f"{last_line(server.log)}"
    )


async def _listed_model(base_url: str, api_key: str, known: str = "") -> str:
    """The first model that the server lists. Raises StartError; KeyRefused where it wants another key.

    known: the model's name, where it needs no list: then a server that is well is enough. mlx_lm's lists the
        hub's cache, and fails where there is none.
    """
    if known and await _is_well(base_url):
        return known
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    place = f"{base_url}/models"
    try:
        async with httpx.AsyncClient(timeout=10, headers=headers) as client:
            response = await client.get(f"{base_url}/models")
        response.raise_for_status()
        return str(response.json()["data"][0]["id"])
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            wants = "wants another key than that of" if api_key else "wants a key, which is read from"
            raise KeyRefused(f"{place} answers with HTTP {status}: it {wants} {API_KEY}") from error
        raise StartError(f"{place} answers with HTTP {status}") from error
    except httpx.HTTPError as error:
        raise StartError(f"{place} does not answer: {type(error).__name__}") from error
    except httpx.InvalidURL as error:
        raise StartError(f"{place} is no address: {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise StartError(f"{place} lists no model") from error


async def _is_well(base_url: str) -> bool:
    """Whether the server answers its /health beside the API with 200."""
    async with httpx.AsyncClient(timeout=10) as client:
        try:
            return (await client.get(f"{base_url.removesuffix('/v1')}/health")).status_code == 200
        except httpx.HTTPError:
            return False


async def death_of(server: ArmServer, client: httpx.AsyncClient) -> str:
    """Why the server can be asked no more; "" while it can."""
    await asyncio.sleep(0.2)  # a process that crashed closes its connections before it has ended
    if server.ended:
        return server.ended
    if server.process is not None:
        return ""
    try:
        await client.get("models", timeout=10)
    except httpx.HTTPError as error:
        return f"{server.base_url} does not answer any more: {type(error).__name__}"
    return ""


def stop_arm(server: ArmServer) -> None:
    """Ends the server and its whole process group; one that does not end in time is killed."""
    if server.process is not None:
        end_group(server.process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads a group, and the whole group; what does not end in time is killed."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    _signal(process, signal.SIGKILL)  # what is left of the group
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def last_line(log: Path | None) -> str:
    """The last line of a server's log, after a colon; "" where there is none."""
    if log is None or not log.is_file():
        return ""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return f": {lines[-1][:_SHOWN]}" if lines else ""


def free_port() -> int:
    """A port of the loopback address that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def resident_bytes(pid: int) -> int | None:
    """RAM that a process and all its descendants hold, as ps tells it; None where it cannot be told."""
    try:
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return _resident_by_proc(pid)
    return _sum_tree(
        pid, [tuple(map(int, line.split())) for line in listed.stdout.splitlines() if line.strip()]
    )


def _resident_by_proc(pid: int) -> int | None:
    """The same from /proc, where there is no ps."""
    rows = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            rest = stat.read_text().rpartition(")")[2].split()
            pages = int((stat.parent / "statm").read_text().split()[1])
            rows.append((int(stat.parent.name), int(rest[1]), pages * os.sysconf("SC_PAGE_SIZE") // 1024))
    return _sum_tree(pid, rows)


def _sum_tree(root: int, rows: Sequence[tuple[int, ...]]) -> int | None:
    """rows: process, parent, kilobytes."""
    held = {pid: kilobytes for pid, _, kilobytes in rows}
    if root not in held:
        return None
    family, found = {root}, True
    while found:
        more = {pid for pid, parent, _ in rows if parent in family} - family
        family, found = family | more, bool(more)
    return sum(held[pid] for pid in family) * 1024
