"""Hermes: `hermes -z`, one prompt with all commands approved."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    return run_cli(job, "--yolo", "-z", job.prompt)


if __name__ == "__main__":
    drive(run)
