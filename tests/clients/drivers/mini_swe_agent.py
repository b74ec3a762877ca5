"""mini-swe-agent: its `mini` command with its own configuration."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    variables = {
        "OPENAI_API_BASE": job.base_url,
        "OPENAI_API_KEY": "none",
        "MSWEA_CONFIGURED": "true",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_SILENT_STARTUP": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = ["mini", "--yolo", "--exit-immediately", "-m", f"openai/{job.model}", "-t", job.prompt]
    return run_cli(job, command, variables=variables)


if __name__ == "__main__":
    drive(run)
