"""Copilot CLI: `copilot --prompt`, over chat completions."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    off = {"COPILOT_AUTO_UPDATE": "false"}
    return run_cli(job, "--allow-all-tools", "-p", job.prompt, variables=off)


if __name__ == "__main__":
    drive(run)
