"""crewai: a crew of one agent with one task; its telemetry is off."""

from __future__ import annotations

import os
from typing import Any, Literal

os.environ["CREWAI_DISABLE_TELEMETRY"] = "true"
os.environ["CREWAI_TRACING_ENABLED"] = "false"

from crewai import Agent, Crew, Task
from crewai.tools import BaseTool
from pydantic import BaseModel

from tests.clients.drivers.common import DESCRIPTION, NAME, Job, drive


class Place(BaseModel):
    shelf: str
    row: int
    kind: Literal["book", "map"]


class Lookup(BaseTool):
    name: str = NAME
    description: str = DESCRIPTION
    args_schema: type[BaseModel] = Place
    job: Any

    def _run(self, **arguments: Any) -> str:
        return str(self.job.execute(arguments))


def run(job: Job) -> str:
    model = job.connected().model
    model.stream = job.stream
    options: dict[str, Any] = {"llm": model, "tools": [Lookup(job=job)], "verbose": False}
    agent = Agent(role="archivist", goal="Find codes.", backstory="Knows the archive.", **options)
    task = Task(description=job.prompt, expected_output="The code.", agent=agent)
    return str(Crew(agents=[agent], tasks=[task], verbose=False).kickoff())


if __name__ == "__main__":
    drive(run)
