"""agent-framework: an agent over its chat completions client."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from agent_framework import tool
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

    made: Any = tool(
        lookup_code, name=NAME, description=DESCRIPTION, schema=Place, approval_mode="never_require"
    )
    agent: Any = job.connected().model.as_agent(tools=[made])
    if not job.stream:
        return str((await agent.run(job.prompt)).text)
    return "".join([update.text async for update in agent.run(job.prompt, stream=True)])


if __name__ == "__main__":
    drive(run)
