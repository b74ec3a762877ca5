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
    variables = {"OPENAI_BASE_URL": job.base_url, "OPENAI_API_KEY": "none", "OPENAI_MODEL": job.model}
    command = ["qwen", "--yolo", "--auth-type", "openai", "--model", job.model, job.prompt]
    return run_cli(job, command, files={".qwen/settings.json": OFF}, variables=variables)


if __name__ == "__main__":
    drive(run)
