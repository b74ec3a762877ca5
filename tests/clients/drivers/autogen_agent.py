"""autogen: an AssistantAgent over its OpenAI client, up to 20 turns with tools."""

from __future__ import annotations

import asyncio
from typing import Literal

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelFamily, ModelInfo
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient

from tests.clients.drivers.common import DESCRIPTION, Job, drive


def run(job: Job) -> str:
    return asyncio.run(_run(job))


async def _run(job: Job) -> str:
    async def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    info = ModelInfo(
        vision=False,
        function_calling=True,
        json_output=False,
        structured_output=False,
        family=ModelFamily.UNKNOWN,
    )
    client = OpenAIChatCompletionClient(
        model=job.model, base_url=job.base_url, api_key="none", model_info=info
    )
    tool = FunctionTool(lookup_code, description=DESCRIPTION)
    agent = AssistantAgent(
        "archivist", client, tools=[tool], max_tool_iterations=20, model_client_stream=job.stream
    )
    result = await agent.run(task=job.prompt)
    return str(getattr(result.messages[-1], "content", ""))


if __name__ == "__main__":
    drive(run)
