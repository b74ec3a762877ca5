"""What the drivers of command-line agents share: a home and a work folder of its own for each run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.clients.drivers.common import Job

SECONDS = 80.0
# Writes down with which word it was run, and tells the token for the right one.
_LOOKUP = """\
printf '%s\\n' "$*" >> "{log}"
if [ "$*" = "{recorded}" ]; then echo "CODE {token}"; else echo "There is no such place."; fi
"""


def run_cli(
    job: Job,
    command: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    files: Mapping[str, object] | None = None,
) -> str:
    """What the agent printed. files: by their path in its home, text or what is to be JSON.

    Raises RuntimeError where it ends with an error or not in time.
    """
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as folder:
        home, work, log = Path(folder, "home"), Path(folder, "work"), Path(folder, "executions")
        work.mkdir()
        script = _LOOKUP.format(log=log, recorded=job.recorded, token=job.token)
        (work / "lookup.sh").write_text(script)
        for name, content in (files or {}).items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        home.mkdir(exist_ok=True)
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        own |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), **(variables or {})}
        try:
            return _output(command, own, work)
        finally:
            _end_what_stayed(home)
            if log.exists():
                job.executions += log.read_text().splitlines()


def _end_what_stayed(home: Path) -> None:
    """Some agents leave a daemon behind, to which the next run would talk: ends all of this HOME (Linux)."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={home}".encode() in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


def _output(command: Sequence[str], variables: Mapping[str, str], work: Path) -> str:
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
        said, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done in {SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {(errors or said)[-300:]}")
    return said if said.strip() else errors[-300:]
