"""Qwen Code: `qwen --yolo`, with its usage statistics and its look for updates off."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive

OFF = {
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False, "disableAutoUpdate": True, "disableUpdateNag": True},
}


def run(job: Job) -> str:
    return run_cli(job, "--yolo", job.prompt, files={".qwen/settings.json": OFF})


if __name__ == "__main__":
    drive(run)
