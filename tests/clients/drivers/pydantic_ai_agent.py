"""pydantic-ai: an Agent with a plain tool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any, Literal

from pydantic_ai import Agent, RunContext

from tests.clients.drivers.common import DESCRIPTION, Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    agent: Any = Agent(job.connected().model)
    agent.tool_plain(description=DESCRIPTION)(lookup_code)
    # a handler for events makes it ask for streams
    handler = _read if job.stream else None
    return str(asyncio.run(agent.run(job.prompt, event_stream_handler=handler)).output)


async def _read(context: RunContext[Any], events: AsyncIterable[Any]) -> None:
    async for _ in events:
        pass


if __name__ == "__main__":
    drive(run)
