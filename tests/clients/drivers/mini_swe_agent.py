"""mini-swe-agent: its `mini` command with its own configuration."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    quiet = {"MSWEA_SILENT_STARTUP": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return run_cli(job, "--yolo", "--exit-immediately", "-t", job.prompt, variables=quiet)


if __name__ == "__main__":
    drive(run)
