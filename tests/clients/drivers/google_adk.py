"""google-adk: an LlmAgent over LiteLlm."""

from __future__ import annotations

import asyncio
from typing import Literal

from google.adk.agents import LlmAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai import types

from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    return asyncio.run(_run(job))


async def _run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        """Looks up the code of a place in the archive."""
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    agent = LlmAgent(name="archivist", model=job.connected().model, tools=[lookup_code])
    runner = InMemoryRunner(agent=agent, app_name="archive")
    session = await runner.session_service.create_session(app_name="archive", user_id="user")
    prompt = types.Content(role="user", parts=[types.Part(text=job.prompt)])
    config = RunConfig(streaming_mode=StreamingMode.SSE if job.stream else StreamingMode.NONE)
    words = ""
    async for event in runner.run_async(
        user_id="user", session_id=session.id, new_message=prompt, run_config=config
    ):
        if event.is_final_response() and event.content and event.content.parts:
            words = "".join(part.text or "" for part in event.content.parts)
    return words


if __name__ == "__main__":
    drive(run)
