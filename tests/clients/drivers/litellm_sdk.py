"""litellm: its `completion` in the loop of its documentation, errors of a call told to the model."""

from __future__ import annotations

import json
from typing import Any

import litellm

from tests.clients.drivers.common import DESCRIPTION, NAME, SCHEMA, Job, drive

TOOL: Any = {"type": "function", "function": {"name": NAME, "description": DESCRIPTION, "parameters": SCHEMA}}


def run(job: Job) -> str:
    completion = job.connected().completion
    messages: list[Any] = [{"role": "user", "content": job.prompt}]

    def lookup_code(shelf: str, row: int, kind: str) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    while True:
        message = ask(completion, job.stream, messages)
        if not message.tool_calls:
            return message.content or ""
        messages.append(message)
        for call in message.tool_calls:
            try:
                tool = {NAME: lookup_code}[call.function.name]
                result = tool(**json.loads(call.function.arguments))
            except (KeyError, ValueError, TypeError) as error:
                result = f"Error: {type(error).__name__}: {error}"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def ask(completion: Any, stream: bool, messages: list[Any]) -> Any:
    answer = completion(stream=stream, messages=messages, tools=[TOOL])
    if stream:
        answer = litellm.stream_chunk_builder(list(answer), messages=messages)
    return answer.choices[0].message


if __name__ == "__main__":
    drive(run)
