"""Copilot CLI: `copilot --prompt` over chat completions, offline."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    variables = {
        "COPILOT_OFFLINE": "true",
        "COPILOT_AUTO_UPDATE": "false",
        "COPILOT_PROVIDER_BASE_URL": job.base_url,
        "COPILOT_PROVIDER_API_KEY": "none",
        "COPILOT_MODEL": job.model,
    }
    return run_cli(job, ["copilot", "--allow-all-tools", "-p", job.prompt], variables=variables)


if __name__ == "__main__":
    drive(run)
