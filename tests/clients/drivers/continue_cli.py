"""Continue: `cn --print --auto`, with its telemetry off."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    off = {"CONTINUE_TELEMETRY_ENABLED": "0", "CONTINUE_ALLOW_ANONYMOUS_TELEMETRY": "0"}
    return run_cli(job, "--auto", "--print", job.prompt, variables=off)


if __name__ == "__main__":
    drive(run)
