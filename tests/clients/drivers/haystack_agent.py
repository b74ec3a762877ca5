"""haystack: an Agent over OpenAIChatGenerator; its telemetry is off."""

from __future__ import annotations

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool

from tests.clients.drivers.common import DESCRIPTION, NAME, SCHEMA, Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: str) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    tool = Tool(name=NAME, description=DESCRIPTION, parameters=SCHEMA, function=lookup_code)
    generator = job.connected().model
    generator.streaming_callback = (lambda chunk: None) if job.stream else None
    result = Agent(chat_generator=generator, tools=[tool]).run(messages=[ChatMessage.from_user(job.prompt)])
    return str(result["messages"][-1].text)


if __name__ == "__main__":
    drive(run)
