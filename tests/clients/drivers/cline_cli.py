"""Cline: `cline auth`, then one prompt; its telemetry and its updates are off."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    off = {"CLINE_TELEMETRY_DISABLED": "1", "CLINE_NO_AUTO_UPDATE": "1"}
    return run_cli(job, job.prompt, variables=off)


if __name__ == "__main__":
    drive(run)
