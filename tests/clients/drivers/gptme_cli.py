"""gptme: `gptme --non-interactive`, with its shell as its only tool."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    alone = {"GPTME_NO_LOCAL_DISCOVERY": "1"}
    return run_cli(job, "--non-interactive", "--no-confirm", "--tools", "shell", job.prompt, variables=alone)


if __name__ == "__main__":
    drive(run)
