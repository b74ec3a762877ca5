"""Vibe: `vibe --prompt`, with all tools approved and its telemetry off."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    return run_cli(
        job,
        "-p",
        job.prompt,
        "--agent",
        "auto-approve",
        variables={"VIBE_ENABLE_TELEMETRY": "false", "VIBE_ENABLE_UPDATE_CHECKS": "false"},
    )


if __name__ == "__main__":
    drive(run)
