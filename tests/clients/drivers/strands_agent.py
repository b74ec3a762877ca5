"""strands: an Agent over its OpenAIModel, which always streams."""

from __future__ import annotations

from typing import Literal

from strands import Agent, tool

from tests.clients.drivers.common import DESCRIPTION, Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    model = job.connected().model
    agent = Agent(model=model, tools=[tool(description=DESCRIPTION)(lookup_code)], callback_handler=None)
    return str(agent(job.prompt))


if __name__ == "__main__":
    drive(run)
