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
    own = {"autoupdate": False, "share": "disabled", "permission": {"bash": "allow"}}
    files = {".config/opencode/opencode.json": own}
    return run_cli(job, job.prompt, subcommand=["run"], files=files, variables=OFF)


if __name__ == "__main__":
    drive(run)
