"""Continue: `cn --print --auto`, with its telemetry off."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    model = {
        "name": job.model,
        "provider": "openai",
        "model": job.model,
        "apiBase": job.base_url,
        "apiKey": "none",
        "roles": ["chat"],
        "capabilities": ["tool_use"],
    }
    # JSON is YAML too
    config = {"name": "local", "version": "1.0.0", "schema": "v1", "models": [model]}
    off = {"CONTINUE_TELEMETRY_ENABLED": "0", "CONTINUE_ALLOW_ANONYMOUS_TELEMETRY": "0"}
    command = ["sh", "-c", 'exec cn --auto --config "$HOME/config.yaml" -p "$0"', job.prompt]
    return run_cli(job, command, files={"config.yaml": config}, variables=off)


if __name__ == "__main__":
    drive(run)
