"""haystack: an Agent over OpenAIChatGenerator; its telemetry is off."""

from __future__ import annotations

import os
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret

from tests.clients.drivers.common import DESCRIPTION, NAME, SCHEMA, Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: str) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    tool = Tool(name=NAME, description=DESCRIPTION, parameters=SCHEMA, function=lookup_code)
    callback: Any = (lambda chunk: None) if job.stream else None
    generator = OpenAIChatGenerator(
        api_key=Secret.from_token("none"),
        model=job.model,
        api_base_url=job.base_url,
        streaming_callback=callback,
    )
    result = Agent(chat_generator=generator, tools=[tool]).run(messages=[ChatMessage.from_user(job.prompt)])
    return str(result["messages"][-1].text)


if __name__ == "__main__":
    drive(run)
