"""autogen: an AssistantAgent over its OpenAI client, up to 20 turns with tools."""

from __future__ import annotations

import asyncio
from typing import Literal

from autogen_agentchat.agents import AssistantAgent
from autogen_core.tools import FunctionTool

from tests.clients.drivers.common import DESCRIPTION, Job, drive


def run(job: Job) -> str:
    return asyncio.run(_run(job))


async def _run(job: Job) -> str:
    async def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    client = job.connected().model
    tool = FunctionTool(lookup_code, description=DESCRIPTION)
    agent = AssistantAgent(
        "archivist", client, tools=[tool], max_tool_iterations=20, model_client_stream=job.stream
    )
    result = await agent.run(task=job.prompt)
    return str(getattr(result.messages[-1], "content", ""))


if __name__ == "__main__":
    drive(run)
