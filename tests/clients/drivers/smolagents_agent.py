"""smolagents: a ToolCallingAgent, which ends with a call of its tool `final_answer`."""

from __future__ import annotations

from typing import Any

from smolagents import Tool, ToolCallingAgent

from tests.clients.drivers.common import DESCRIPTION, NAME, SCHEMA, Job, drive


class Lookup(Tool):
    name = NAME
    description = DESCRIPTION
    inputs = SCHEMA["properties"]
    output_type = "string"

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job

    def forward(self, shelf: str, row: int, kind: str) -> str:
        return self.job.execute({"shelf": shelf, "row": row, "kind": kind})


def run(job: Job) -> str:
    model = job.connected().model
    agent: Any = ToolCallingAgent([Lookup(job)], model, stream_outputs=job.stream, verbosity_level=0)
    return str(agent.run(job.prompt))


if __name__ == "__main__":
    drive(run)
