"""Claude Code: `claude --print` over Anthropic's Messages, without traffic to anyone else."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    variables = {
        "ANTHROPIC_BASE_URL": job.base_url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_MODEL": job.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": job.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    command = ["claude", "--print", job.prompt, "--allowedTools", "Bash"]
    return run_cli(job, command, variables=variables)


if __name__ == "__main__":
    drive(run)
