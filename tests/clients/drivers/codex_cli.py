"""Codex: `codex exec`, over OpenAI's Responses. Its own sandbox is off, since containers may not allow it."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    alone = ("--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check")
    # what was there before it is connected stays
    own = {".codex/config.toml": "check_for_update_on_startup = false\n\n[analytics]\nenabled = false\n"}
    return run_cli(job, *alone, job.prompt, subcommand=["exec"], files=own)


if __name__ == "__main__":
    drive(run)
