"""strands: an Agent over its OpenAIModel, which always streams."""

from __future__ import annotations

from typing import Literal

from strands import Agent, tool
from strands.models.openai import OpenAIModel

from tests.clients.drivers.common import DESCRIPTION, Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    client = {"base_url": job.base_url, "api_key": "none"}
    model = OpenAIModel(client_args=client, model_id=job.model)
    agent = Agent(model=model, tools=[tool(description=DESCRIPTION)(lookup_code)], callback_handler=None)
    return str(agent(job.prompt))


if __name__ == "__main__":
    drive(run)
