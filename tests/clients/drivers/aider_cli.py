"""aider: `aider --message`, without git, its look for updates and its statistics."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    alone = ("--no-git", "--no-check-update", "--analytics-disable", "--yes-always", "--no-pretty")
    return run_cli(job, *alone, "--message", job.prompt, variables={"LITELLM_LOCAL_MODEL_COST_MAP": "True"})


if __name__ == "__main__":
    drive(run)
