"""llama-index: a FunctionAgent over OpenAILike."""

from __future__ import annotations

import asyncio
from typing import Literal

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from tests.clients.drivers.common import DESCRIPTION, NAME, Job, drive


class Place(BaseModel):
    shelf: str
    row: int
    kind: Literal["book", "map"]


def run(job: Job) -> str:
    return asyncio.run(_run(job))


async def _run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: str) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    tool = FunctionTool.from_defaults(lookup_code, name=NAME, description=DESCRIPTION, fn_schema=Place)
    agent = FunctionAgent(tools=[tool], llm=job.connected().model, streaming=job.stream)
    return str(await agent.run(job.prompt))


if __name__ == "__main__":
    drive(run)
