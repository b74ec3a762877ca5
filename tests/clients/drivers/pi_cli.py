"""pi: `pi --print`, offline."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    model = {"id": job.model, "contextWindow": 200_000, "maxTokens": 8192}
    provider = {"baseUrl": job.base_url, "api": "openai-completions", "apiKey": "none", "models": [model]}
    command = [
        "pi",
        "--offline",
        "--no-session",
        "--provider",
        "local",
        "--model",
        job.model,
        "-p",
        job.prompt,
    ]
    files = {".pi/agent/models.json": {"providers": {"local": provider}}}
    return run_cli(job, command, files=files, variables={"PI_TELEMETRY": "0"})


if __name__ == "__main__":
    drive(run)
