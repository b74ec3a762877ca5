"""What the drivers of command-line agents share: a home and a work folder of its own for each run.

The agent is connected as `fortieth connect --write` does it: these files, these variables, these flags.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from proxy.cli.connections.base import ServerAddress
from proxy.cli.connections.config_files import write_files
from proxy.cli.connections.table import CLIENTS
from tests.clients.drivers.common import Hung, Job


def run_cli(
    job: Job,
    *arguments: str,
    subcommand: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    files: Mapping[str, object] | None = None,
) -> str:
    """What the agent printed. arguments: after the flags that connect it; subcommand: before them.

    files: by their path in its home, text or what is to be JSON; these are there before it is connected, as a
    user's own would be. Raises RuntimeError where it ends with an error, and Hung where it does not end in
    time.
    """
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as folder:
        home, work, log = Path(folder, "home"), Path(folder, "work"), Path(folder, "executions")
        work.mkdir()
        (work / "lookup.sh").write_text(_lookup(job, log))
        for name, content in (files or {}).items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        home.mkdir(exist_ok=True)
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        own |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), **(variables or {})}
        server = ServerAddress(job.base_url.removesuffix("/v1"), job.model, context_window=job.context_window)
        settings = CLIENTS[job.client].settings_for(server, home, own)
        write_files(settings.files, home, own)
        own |= settings.variables
        program, *flags = settings.command
        try:
            if settings.setup:
                _output(settings.setup, own, work, job.seconds)
            return _output([program, *subcommand, *flags, *arguments], own, work, job.seconds)
        finally:
            _end_what_stayed(home)
            if log.exists():
                job.executions += log.read_text().splitlines()


def _lookup(job: Job, log: Path) -> str:
    """A script that writes down with which words it was run, and tells the token for the right ones."""
    known = [(job.recorded, f"CODE {job.token}"), *job.steps]
    cases = "".join(f'"{words}") echo "{said}" ;;\n' for words, said in known)
    told = f'case "$*" in\n{cases}*) echo "There is no such place." ;;\nesac\n'
    return f'printf \'%s\\n\' "$*" >> "{log}"\n{told}'


def _end_what_stayed(home: Path) -> None:
    """Some agents leave a daemon behind, to which the next run would talk: ends all of this HOME (Linux)."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={home}".encode() in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


def _output(command: Sequence[str], variables: Mapping[str, str], work: Path, seconds: float) -> str:
    process = subprocess.Popen(
        list(command),
        env=dict(variables),
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Hung(f"not done in {seconds:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {(errors or said)[-300:]}")
    return said if said.strip() else errors[-300:]
