"""agno: an Agent over OpenAILike; its telemetry is off."""

from __future__ import annotations

from typing import Any, Literal

from agno.agent import Agent

from tests.clients.drivers.common import Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        """Looks up the code of a place in the archive."""
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    agent: Any = Agent(model=job.connected().model, tools=[lookup_code], telemetry=False)
    if not job.stream:
        return str(agent.run(job.prompt).content)
    return "".join(str(event.content) for event in agent.run(job.prompt, stream=True) if event.content)


if __name__ == "__main__":
    drive(run)
