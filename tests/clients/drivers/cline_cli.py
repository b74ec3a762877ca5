"""Cline: `cline auth`, then one prompt with all tools approved."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    auth = f"cline auth -p openai-compatible -k none -m {job.model} -b {job.base_url} >/dev/null 2>&1"
    command = ["sh", "-c", f'{auth} && exec cline -P openai-compatible -m {job.model} "$0"', job.prompt]
    return run_cli(job, command, variables={"CLINE_TELEMETRY_DISABLED": "1", "CLINE_NO_AUTO_UPDATE": "1"})


if __name__ == "__main__":
    drive(run)
