"""opencode: `opencode run`, with its updates, its sharing and its list of models off."""

from __future__ import annotations

from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Job, drive

OFF = {
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
}


def run(job: Job) -> str:
    models = {job.model: {"limit": {"context": 200_000, "output": 8192}, "tool_call": True}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": job.base_url, "apiKey": "none"},
        "models": models,
    }
    config = {
        "provider": {"local": provider},
        "autoupdate": False,
        "share": "disabled",
        "permission": {"bash": "allow"},
    }
    command = ["opencode", "run", "--model", f"local/{job.model}", job.prompt]
    return run_cli(job, command, files={".config/opencode/opencode.json": config}, variables=OFF)


if __name__ == "__main__":
    drive(run)
