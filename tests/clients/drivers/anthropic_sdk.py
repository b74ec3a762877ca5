"""anthropic: the loop of the SDK's own documentation by hand, which validates nothing.

With `runner` as its argument: the SDK's tool runner, which validates and tells the model of errors.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

from anthropic import beta_tool

from tests.clients.drivers.common import DESCRIPTION, NAME, SCHEMA, Job, drive

TOOL: Any = {"name": NAME, "description": DESCRIPTION, "input_schema": SCHEMA}


def run(job: Job) -> str:
    with job.connected().client as client:
        asked: Any = {"model": job.model, "max_tokens": 1000}
        asked["messages"] = [{"role": "user", "content": job.prompt}]
        return _run(client, asked, job) if sys.argv[1:] == ["runner"] else _loop(client, asked, job)


def _loop(client: Any, asked: dict[str, Any], job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: str) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    while True:
        message = _ask(client, asked | {"tools": [TOOL]}, job.stream)
        if message.stop_reason != "tool_use":
            return _text(message)
        results = [
            {
                "type": "tool_result",
                "tool_use_id": block.id,
                "content": {NAME: lookup_code}[block.name](**block.input),
            }
            for block in message.content
            if block.type == "tool_use"
        ]
        asked["messages"].append({"role": "assistant", "content": message.content})
        asked["messages"].append({"role": "user", "content": results})


def _ask(client: Any, asked: dict[str, Any], stream: bool) -> Any:
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


def _run(client: Any, asked: dict[str, Any], job: Job) -> str:
    @beta_tool(description=DESCRIPTION)
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    asked["tools"] = [lookup_code]
    if job.stream:
        *_, last = [one.get_final_message() for one in client.beta.messages.tool_runner(**asked, stream=True)]
        return _text(last)
    return _text(client.beta.messages.tool_runner(**asked).until_done())


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


if __name__ == "__main__":
    drive(run)
