"""openai-agents: an Agent over chat completions; tracing is off, since it would go to the network."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from agents import Agent, Runner, function_tool, set_tracing_disabled

from tests.clients.drivers.common import DESCRIPTION, Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    tool: Any = function_tool(lookup_code, description_override=DESCRIPTION)
    return asyncio.run(_run(job, tool))


async def _run(job: Job, tool: Any) -> str:
    agent = Agent(name="archivist", model=job.connected().model, tools=[tool])
    if not job.stream:
        return str((await Runner.run(agent, job.prompt)).final_output)
    result = Runner.run_streamed(agent, job.prompt)
    async for _ in result.stream_events():
        pass
    return str(result.final_output)


if __name__ == "__main__":
    set_tracing_disabled(True)
    drive(run)
